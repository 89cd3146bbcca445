"""Clip: the folder of a clip. Opening one checks it and says what is wrong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import UserError
from atlas.files import StoredArray, read_image, read_json, write_json

VERSION = 1
BACKGROUND = "background"
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,100}")


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
    audio: bool = False
    colour: dict[str, str] = field(default_factory=dict)
    """Colour tags of the source as ffmpeg names them: color_range, colorspace, color_primaries, color_trc."""


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
            raise UserError(f"{folder} is not a clip folder (no clip.json): make one with scripts/prepare.py SOURCE {folder}")
        data = read_json(path)
        if not isinstance(data, dict) or not isinstance(data.get("version"), int):
            raise UserError(f"{path} is not a clip's description: run scripts/prepare.py again")
        if data["version"] > VERSION:
            raise UserError(
                f"{path} has format version {data['version']}, this program reads up to {VERSION}: update the program"
            )
        try:
            clip = cls(
                folder=folder,
                name=str(data["name"]),
                frames=int(data["frames"]),
                width=int(data["width"]),
                height=int(data["height"]),
                fps=float(data["fps"]),
                layers=[str(layer) for layer in data["layers"]],
                source=Source(**data["source"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as problem:
            raise UserError(f"{path} is incomplete ({problem}): run scripts/prepare.py again") from None
        clip._check(path)
        return clip

    def _check(self, path: Path) -> None:
        valid = all(_NAME.fullmatch(layer) and layer not in (".", "..") for layer in self.layers)
        source = self.source
        counts = isinstance(source.indices, list) and all(type(i) is int and i >= 0 for i in (source.start, *source.indices))
        rates = [self.fps, source.fps]
        timed = all(isinstance(rate, int | float) and math.isfinite(rate) and rate >= 0 for rate in rates) and self.fps > 0
        if not (valid and counts and timed and isinstance(source.path, str)) or not self.layers:
            raise UserError(f"{path} is damaged: run scripts/prepare.py again")
        if min(self.frames, self.width, self.height) < 1:
            raise UserError(f"{path} is damaged: run scripts/prepare.py again")
        # One by one, the first that is missing ends it: the number of frames is only what the file claims.
        for i in range(self.frames):
            for file in (self.frame_path(i), *(self.mask_path(layer, i) for layer in self.objects)):
                if not file.is_file():
                    raise UserError(f"{file} is missing: run scripts/prepare.py again")
        if len(source.indices) not in (0, self.frames):
            raise UserError(f"{path} is damaged: run scripts/prepare.py again")

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
        return self._sized(self.frame_path(index), read_image(self.frame_path(index), mode="rgb"))

    def mask(self, layer: str, index: int) -> np.ndarray:
        """Mask of an object layer in frame `index` as (H, W) uint8, 255 inside."""
        path = self.mask_path(layer, index)
        return self._sized(path, read_image(path))[:, :, 0]

    def _sized(self, path: Path, image: np.ndarray) -> np.ndarray:
        if image.shape[:2] != (self.height, self.width):
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(f"{path} is {size}, the clip is {self.width}x{self.height}: run scripts/prepare.py again")
        return image

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
            raise UserError(f"{path} is missing or damaged: run scripts/prepare.py again") from None
        if array.shape != shape:
            raise UserError(f"{path} has shape {array.shape}, not {shape}: run scripts/prepare.py again")
        return array

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


def checked_name(name: str, kind: str) -> str:
    """A name that is safe as a folder's name; UserError otherwise."""
    if not _NAME.fullmatch(name) or name.startswith(".") or name != name.strip():
        raise UserError(f"{name!r} cannot name a folder of this {kind}: use letters, digits, '-' and '_'")
    return name
