"""Output of a rendering: a video file or a folder of images, checked before the work begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError, a_few
from atlas.storage.atomic import put_in_place, scratch_folder
from atlas.storage.images import to_8_bit, write_image
from atlas.storage.own.listed import LIST, finish_listed, written
from atlas.storage.stamps import contents, digest
from atlas.system.terminal import say
from atlas.video.reading import probe
from atlas.video.sound import Sound
from atlas.video.source import has_content
from atlas.video.writing import FORMATS, write_video

IMAGES = {"png": 8, "png16": 16}
"""Formats that are folders of images, and the bits of a channel."""


def _signature(path: Path) -> str:
    if path.is_file():
        return digest(contents(path))
    listed, there = written(path), contents(path)
    return digest(listed) if listed and all(there.get(name) == entry for name, entry in listed.items()) else ""


@dataclass(frozen=True)
class Output:
    """Where a rendering goes and as what."""

    path: Path
    format: str
    alpha: bool = False
    crf: int | None = None

    @property
    def deep(self) -> bool:
        """Whether frames are wanted with 16 bits."""
        return IMAGES.get(self.format) == 16 or (self.format in FORMATS and FORMATS[self.format].deep)

    def write(self, frames: Iterable[np.ndarray], clip: Clip, sign: Callable[[str], None] = lambda signature: None) -> None:
        """Write the frames, (H, W, 3 or 4) uint8 or uint16, with the clip's frame rate, colour tags and sound.

        sign: told the `signature` of what is written just before it is in its place. What somebody put into a folder of images
        stays in it; what was changed of them comes below replaced/ there, and that is said.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self.path.parent, self.path.name) as scratch:
            made = scratch / self.path.name
            if self.format in IMAGES:
                self._write_images(made, frames)
            else:
                self._write_film(made, frames, clip)
            sign(_signature(made))
            put_in_place(made, self.path)

    def _write_images(self, made: Path, frames: Iterable[np.ndarray]) -> None:
        for index, frame in enumerate(frames):
            write_image(made / f"{index:05d}.png", frame)
        if moved := finish_listed(made, self.path, named_by_user=True):
            say(f"changed since they were rendered, and replaced: {a_few(moved)}")

    def _write_film(self, made: Path, frames: Iterable[np.ndarray], clip: Clip) -> None:
        sound, colour = _sound(clip), clip.source.colour
        problem = write_video(made, frames, clip.fps, kind=self.format, sound=sound, colour=colour, crf=self.crf)
        if problem:
            say(f"the film is without sound: {clip.source.path!r}, the source: {problem}", sys.stderr)

    def signature(self) -> str:
        """Digest of the film as it is there, or of the images that were rendered there; "" where one is missing or changed."""
        return _signature(self.path)


def _sound(clip: Clip) -> Sound | None:
    """The sound that goes with the clip; None where it has none, or its film is not what the clip was prepared from.

    The sound of anything else that a stranger's clip.json names is nobody's to pass on.
    """
    source = clip.source
    path = Path(source.path)
    if not source.audio:
        return None
    if os.path.isfile(path) and has_content(path, source.sha256):
        start = source.first_time
        if start is None:  # of a clip that an older version made
            first = source.indices[0] if source.indices else source.start
            times = probe(path, first + 1).times
            start = float(times[min(first, len(times) - 1)])
        return Sound(path, start, clip.frames / clip.fps)
    reason = "has changed since the clip was prepared" if os.path.exists(path) else "is gone"
    say(f"the film is without sound: {str(path)!r}, the source in {clip.folder / 'clip.json'}, {reason}", sys.stderr)
    return None


def check_format(name: str, *, alpha: bool = False, crf: int | None = None) -> None:
    """UserError where a format is not known, cannot be transparent, or has no such quality."""
    known = [*FORMATS, *IMAGES]
    if name not in known:
        raise UserError(f"--format {name} is not known: choose one of {', '.join(known)}")
    if name in IMAGES:
        if crf is not None:
            rated = [kind for kind, form in FORMATS.items() if form.crf is not None]
            raise UserError(f"--crf is for {' and '.join(rated)}, not --format {name}: leave it out")
        return
    form = FORMATS[name]
    if alpha and not form.transparent:
        clear = [other for other in known if other in IMAGES or FORMATS[other].transparent]
        raise UserError(f"--format {name} holds no transparency: with --alpha choose one of {', '.join(clear)}")
    if crf is not None and (form.crf is None or not 0 <= crf <= form.largest_crf):
        allowed = "has no rate factor: leave --crf out" if form.crf is None else f"takes --crf 0 to {form.largest_crf}"
        raise UserError(f"--crf {crf}: {name} {allowed}")


def choose_output(
    clip: Clip,
    edit: str,
    name: str,
    *,
    alpha: bool = False,
    crf: int | None = None,
    path: Path | None = None,
    force: bool = False,
) -> Output:
    """Choose the output of an edit: at `path`, or under its usual name in the edit's folder.

    UserError where it cannot be written, or would replace what it was not written for: the clip, its source, other images
    (unless `force`).
    """
    check_format(name, alpha=alpha, crf=crf)
    folder = clip.edit_folder(edit)
    if path:
        refuse_what_is_needed(path, clip, folder)
    chosen = path or folder / usual_name(name, alpha=alpha)
    if name in IMAGES:
        if chosen.exists() and not chosen.is_dir():
            raise UserError(f"{chosen} is a file, --format {name} is a folder of images: choose another --output")
        if path and not force and chosen.is_dir() and any(chosen.iterdir()) and not (chosen / LIST).is_file():
            raise UserError(f"{chosen} holds other files: choose another --output, or --force to write among them")
    else:
        suffix = FORMATS[name].suffix
        if chosen.suffix.lower() != suffix:
            raise UserError(f"{chosen} is no name for --format {name}: end it with {suffix}, or choose another --format")
        if chosen.is_dir():
            raise UserError(f"{chosen} is a folder: choose another --output")
    check_writable(chosen)
    return Output(chosen, name, alpha, crf)


def usual_name(name: str, *, alpha: bool) -> str:
    """What an edit is called in its folder, rendered in the format of this name."""
    if name in IMAGES:
        return ("layer" if alpha else "frames") + ("16" if name == "png16" else "")
    return ("layer" if alpha else "video") + FORMATS[name].suffix


def check_writable(path: Path) -> None:
    """UserError where nothing can be made at `path`, an --output."""
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written ({above} is no folder that you may write to): choose another --output")


def refuse_what_is_needed(path: Path, clip: Clip, folder: Path) -> None:
    """UserError where an output at `path` would take the place of the clip's source or lie among the clip's own files.

    folder: the one in the clip's folder in which it may lie.
    """
    target, source = path.resolve(), Path(os.path.realpath(clip.source.path))  # which, unlike resolve(), bears links in a ring
    if target.is_relative_to(clip.folder.resolve()) and target.parent != folder.resolve():
        raise UserError(f"{path} lies inside the clip {clip.folder}: choose another --output, or leave it out")
    if target == source or source.is_relative_to(target) or (os.path.isdir(source) and target.is_relative_to(source)):
        raise UserError(f"{path} is the source of {clip.folder}, which would be lost: choose another --output")


def shown(image: np.ndarray) -> np.ndarray:
    """Convert a frame for a contact sheet: (H, W, 3) uint8, transparency over a checkerboard."""
    image = to_8_bit(image)
    if image.shape[2] == 3:
        return image
    board = 90 + 40 * ((np.indices(image.shape[:2]) // max(8, min(image.shape[:2]) // 24)).sum(0) % 2)
    alpha = image[..., 3:].astype(np.float32) / 255
    return cv2.convertScaleAbs(image[..., :3] * alpha + board[..., None] * (1 - alpha))
