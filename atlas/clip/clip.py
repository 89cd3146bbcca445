"""Clip: the folder of a clip. Opening one checks it and says what is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import PREPARE, UserError
from atlas.storage.arrays import StoredArray
from atlas.storage.bounds import MOST_VIDEO_FRAMES, is_rate, is_side
from atlas.storage.images import over_black, read_image, to_8_bit
from atlas.storage.links import refuse_outward_links
from atlas.storage.pictures import WantedSize
from atlas.storage.stamps import digest, read_stamp, read_versioned, write_json
from atlas.video.colour_tags import check_colour

VERSION = 1
BACKGROUND = "background"
WHOLE_FRAME = "all"
"""What stands in a layer's place where whole frames are edited: no clip has a layer of this name."""
_LONGEST_NAME, _MOST_BYTES = 100, 200  # file systems take 255 bytes, and what is made beside a folder is named after it
_JOINERS = "\u200c\u200d"  # invisible, but part of how some scripts are written
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {kind + n for kind in ("COM", "LPT") for n in "0123456789¹²³"}
"""Names that Windows keeps for itself, with any suffix."""
_LONGEST_PATH = 4096
_LATEST = 1e7
"""Seconds: a frame of no film is later."""


@dataclass
class Source:
    """Where a clip's frames came from, so that the full size, the timing and the sound stay reachable."""

    path: str
    """Absolute path of the video file or folder of frames."""
    sha256: str
    width: int
    """Pixels of the source itself, before the size limit."""
    height: int
    start: int = 0
    """First source frame taken."""
    indices: list[int] = field(default_factory=list)
    """Source frame shown at each clip frame (not consecutive where the frame rate was changed)."""
    fps: float = 0.0
    """The source's own frame rate; 0 where it has none (a folder of frames)."""
    first_time: float | None = None
    """Seconds from the start of the source to the clip's first frame, where sound is cut; None in clips of older versions."""
    audio: bool = False
    colour: dict[str, str] = field(default_factory=dict)
    """Colour tags of the frames as ffmpeg names them: color_range, colorspace, color_primaries, color_trc; and where pixels are
    not square, sample_aspect_ratio."""
    deep: bool = False
    """Whether the source has more than 8 bits, which the prepared frames have not."""

    def problem(self) -> str | None:
        """What cannot be true of any source, in a few words."""
        if not is_path(self.path) or not isinstance(self.sha256, str):
            return "its source has no path or sha256 that can be"
        if type(self.audio) is not bool or type(self.deep) is not bool:
            return "its source's audio or deep is neither true nor false"
        if not (is_side(self.width) and is_side(self.height)):
            return "its source's width or height cannot be"
        numbers = [self.start, *self.indices] if isinstance(self.indices, list) else [None]
        if not all(type(i) is int and 0 <= i < MOST_VIDEO_FRAMES for i in numbers):
            return "its source's start or indices are no numbers of frames"
        if not is_rate(self.fps) and not (type(self.fps) in (int, float) and self.fps == 0):
            return "its source's fps is no frame rate"
        if self.first_time is not None and not _is_time(self.first_time):
            return "its source's first_time is no time"
        try:
            check_colour(self.colour)
        except ValueError as problem:
            return f"of its source's colour: {problem}"
        return None


@dataclass
class Clip:
    """A prepared clip: frames, masks and flow in one folder.

    Frames are numbered 0 .. frames - 1; layers are named front to back, `background` last.
    """

    folder: Path
    name: str
    frames: int
    width: int
    height: int
    fps: float
    layers: list[str]
    source: Source

    @classmethod
    def open(cls, folder: Path) -> Clip:
        """Open a clip's folder; UserError where it is none, is of a newer version, or lacks frames or masks."""
        folder = Path(folder)
        path = folder / "clip.json"
        if not path.is_file():
            raise UserError(f"{folder} is not a clip folder (no clip.json): make one with {PREPARE} SOURCE {folder}")
        refuse_outward_links(folder)
        data = read_versioned(path, VERSION, "a clip's description", f"run {PREPARE} again")
        try:
            clip = cls(
                folder=folder,
                name=_text(data, "name"),
                frames=_whole(data, "frames"),
                width=_whole(data, "width"),
                height=_whole(data, "height"),
                fps=data["fps"],
                layers=data["layers"],
                source=Source(**data["source"]),
            )
        except (KeyError, TypeError) as problem:
            raise UserError(f"{path} is incomplete ({str(problem)[:100]}): run {PREPARE} again") from None
        clip._check(path)
        clip.fps = float(clip.fps)
        return clip

    def _check(self, path: Path) -> None:
        if problem := self._problem():
            raise UserError(f"{path} is damaged ({problem}): run {PREPARE} again")
        # One by one, the first that is missing ends it: the number of frames is only what the file claims.
        for i in range(self.frames):
            for file in (self.frame_path(i), *(self.mask_path(layer, i) for layer in self.objects)):
                if not file.is_file():
                    raise UserError(f"{file} is missing: run {PREPARE} again")
        if len(self.source.indices) not in (0, self.frames):
            raise UserError(f"{path} is damaged (it has not one index for each frame): run {PREPARE} again")

    def _problem(self) -> str | None:
        """What clip.json says that cannot be; the file may come from anyone."""
        if not isinstance(self.layers, list) or not self.layers or not all(is_name(layer) for layer in self.layers):
            return "its layers are no names"
        if len(set(self.layers)) < len(self.layers):
            return "it has the same layer twice"
        if self.layers[-1] != BACKGROUND:
            return "its last layer is not the background"
        if WHOLE_FRAME in self.layers:
            return f"{WHOLE_FRAME!r}, which means the whole frame, names one of its layers"
        if not is_rate(self.fps):
            return "its fps is no frame rate"
        if self.frames < 1 or not (is_side(self.width) and is_side(self.height)):
            return "its frames, width or height cannot be"
        return self.source.problem()

    def save(self) -> None:
        """Write clip.json: the last act of preparing a clip."""
        data: dict[str, Any] = {"version": VERSION} | {k: v for k, v in self.__dict__.items() if k not in ("folder", "source")}
        write_json(self.folder / "clip.json", data | {"source": self.source.__dict__})

    @property
    def objects(self) -> list[str]:
        """The layers that have masks: all but the background, front to back."""
        return [layer for layer in self.layers if layer != BACKGROUND]

    def frame_path(self, index: int) -> Path:
        """PNG of frame `index`."""
        return self.folder / "frames" / f"{index:05d}.png"

    def mask_path(self, layer: str, index: int) -> Path:
        """PNG of the mask of `layer` in frame `index`."""
        return self.folder / "masks" / layer / f"{index:05d}.png"

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` as (H, W, 3) uint8 RGB."""
        return to_8_bit(read_image(self.frame_path(index), mode="rgb", size=self._size()))

    def mask(self, layer: str, index: int) -> np.ndarray:
        """Mask of an object layer in frame `index` as (H, W) uint8, 255 inside: any colour is, what was erased is not."""
        image = to_8_bit(read_image(self.mask_path(layer, index), size=self._size()))
        return image[:, :, 0] if image.shape[2] == 1 else over_black(image).max(-1)

    def selection(self, layer: str, index: int) -> np.ndarray:
        """Where the masks say that a layer lies in a frame, (H, W) float32 in [0, 1]; the background is beside all objects."""
        if layer != BACKGROUND:
            return self.mask(layer, index) / np.float32(255)
        masks = [self.mask(name, index) for name in self.objects]
        rest = 255 - np.max(masks, axis=0) if masks else np.full((self.height, self.width), 255, np.uint8)
        return rest / np.float32(255)

    def _size(self) -> WantedSize:
        return WantedSize(self.height, self.width, "the clip is", f"run {PREPARE} again")

    def flow(self, direction: str) -> StoredArray:
        """Optical flow in pixels, (T - 1, H, W, 2) float16, read where it is indexed.

        direction "forward": entry i goes from frame i to i + 1; "backward": entry i goes from frame i + 1 to i.
        """
        return self._flow_array(direction, (self.frames - 1, self.height, self.width, 2))

    def flow_validity(self, direction: str) -> StoredArray:
        """Where `flow(direction)` agrees with the way back, (T - 1, H, W) uint8 0 or 1, read where it is indexed."""
        return self._flow_array(f"{direction}_valid", (self.frames - 1, self.height, self.width))

    def _flow_array(self, name: str, shape: tuple[int, ...]) -> StoredArray:
        path = self.folder / "flow" / f"{name}.npy"
        try:
            array = StoredArray(path)
        except (FileNotFoundError, ValueError, EOFError):
            raise UserError(f"{path} is missing or damaged: run {PREPARE} again") from None
        if array.shape != shape:
            raise UserError(f"{path} has shape {array.shape}, not {shape}: run {PREPARE} again")
        return array

    def checked_flow(self, flow: np.ndarray) -> np.ndarray:
        """Flow that was read, as float32; UserError where some of it is no number, as a damaged file leaves it."""
        flow = flow.astype(np.float32)
        if not np.isfinite(flow).all():
            raise UserError(f"{self.folder / 'flow'} holds what is no number, it is damaged: run {PREPARE} again")
        return flow

    def fit_folder(self, fit: str) -> Path:
        """Folder of the fit named `fit`; it need not exist."""
        return self.folder / "fits" / checked_name(fit, "fit")

    def edit_folder(self, edit: str) -> Path:
        """Folder of the edit named `edit`; it need not exist."""
        return self.folder / "edits" / checked_name(edit, "edit")

    def check_layer(self, layer: str) -> None:
        """UserError where the clip has no such layer."""
        if layer not in self.layers:
            raise UserError(f"{self.folder} has no layer {layer!r}: choose one of {', '.join(self.layers)}")

    def check_editable(self, layer: str) -> None:
        """UserError where `layer` is none of the clip's layers, nor `all`, the whole frame."""
        if layer != WHOLE_FRAME:
            self.check_layer(layer)

    def identity(self) -> str:
        """Digest what the clip was prepared from: what an edit of whole frames depends on."""
        return digest(read_stamp(self.folder))


def _is_time(seconds: object) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= _LATEST


def _whole(data: Mapping[str, Any], key: str) -> int:
    if type(data[key]) is not int:
        raise TypeError(f"{key} is no whole number")
    return int(data[key])


def _text(data: Mapping[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise TypeError(f"{key} is no text")
    return str(data[key])


def is_path(text: object) -> bool:
    """Whether a text can be a path at all; the bytes of a name that is no UTF-8 stand in it as Python has them."""
    if not isinstance(text, str) or len(text) > _LONGEST_PATH or "\0" in text:
        return False
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def is_name(text: object) -> bool:
    """Whether a text can name a file or folder everywhere, and can be shown: of a layer, a fit or an edit."""
    if not isinstance(text, str) or not 1 <= len(text) <= _LONGEST_NAME or text.strip() != text:
        return False
    # Control characters, invisible ones, those that turn the line around, line ends, halves of a pair, unassigned ones.
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and c not in _JOINERS for c in text):
        return False
    if any(c in "/\\:" for c in text) or text.startswith((".", "-")) or text.endswith("."):
        return False
    return len(text.encode()) <= _MOST_BYTES and text.partition(".")[0].rstrip().upper() not in _DEVICES


def checked_name(name: str, kind: str) -> str:
    """A name that is safe as a folder's name; UserError otherwise."""
    if not is_name(name):
        shown = name if isinstance(name, str) and len(name) <= 2 * _LONGEST_NAME else f"{str(name)[:_LONGEST_NAME]}..."
        raise UserError(f"{shown!r} cannot name a folder of this {kind}: use letters, digits, '-' and '_'")
    return name
