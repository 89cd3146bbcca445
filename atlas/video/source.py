"""The frames of a source, one interface over a video file and a folder of images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from atlas.errors import UserError, a_few
from atlas.storage.bounds import LARGEST_SIDE
from atlas.storage.images import read_image, to_8_bit
from atlas.storage.links import refuse_lost_link
from atlas.storage.pictures import WantedSize, picture_header
from atlas.storage.stamps import digest
from atlas.video.colour_tags import BT709
from atlas.video.conversion import Conversion
from atlas.video.reading import VideoInfo, converted, probe, read_frames

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_COUNTED = 10**15  # numbers below count frames; longer ones are times or hashes
_MOST = 0.7  # share of the steps between numbers that have to be alike
FOLDER_FPS = 24
"""Frames per second of a folder of frames, which does not say."""
SMALLEST = 16
"""Pixels: sides below this leave nothing to track (and DIS flow fails)."""


@dataclass
class FrameSource:
    """A video file or a folder of frames, opened and checked; frames are decoded on request."""

    path: Path
    width: int
    height: int
    frames: int
    """All of them, or those of a video that were asked for."""
    fps: Fraction
    """Frames per second; of a video whose frames are not evenly spaced, those of the constant rate they are resampled to."""
    images: list[Path] = field(default_factory=list)
    """The images of a folder in order; empty for a video."""
    video: VideoInfo | None = None
    conversion: Conversion | None = None
    """How a video's frames become RGB."""
    deep: bool = False
    """Whether its frames have more than 8 bits."""

    def remarks(self) -> list[str]:
        """Say what is done with a video's times, fields and colours, or with numbers that lack, `has ...: ...` each."""
        said = [self.conversion.said] if self.conversion and self.conversion.said else []
        if gaps := _gaps(self.images):
            said.append(f"has no frames between {a_few(gaps)}: those that are there follow each other")
        return [*(self.video.remarks() if self.video else []), *said]

    @property
    def colour(self) -> dict[str, str]:
        """Colour tags of what is encoded from its frames, and of a video the aspect of its pixels."""
        return dict(self.conversion.colour if self.conversion else BT709)

    @property
    def sha256(self) -> str:
        """Hash the content: of the file, or of the images that count as frames."""
        return _content_hash(self.path, self.images)

    @property
    def times(self) -> np.ndarray:
        """Seconds from the start of the file at which each frame is shown, and the end of the last, (N + 1,) float64."""
        return self.video.times if self.video else np.arange(self.frames + 1) / float(self.fps)

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Decode the frames at ascending `indices` (repeats allowed) as (H, W, 3) uint8 or uint16 RGB.

        Raises UserError for one that is damaged or of another size than the first.
        """
        if self.images:
            for index in indices:
                yield self._image(index)
            return
        first, last = indices[0], indices[-1]
        wanted = iter(indices)
        following = next(wanted, None)
        decoded = read_frames(self.path, first, last - first + 1, self.video, self.conversion, deep=True)
        for index, frame in enumerate(decoded, start=first):
            while following == index:
                yield frame
                following = next(wanted, None)
        if following is not None:
            raise UserError(f"{self.path} ends before frame {following}: choose a smaller --start or --frames")

    def _image(self, index: int) -> np.ndarray:
        size = WantedSize(self.height, self.width, f"{self.images[0].name} is", "all frames must have one size")
        return read_image(self.images[index], mode="rgb", size=size)


def open_source(path: Path, fps: float | None = None, most: int | None = None) -> FrameSource:
    """Open a video file or a folder of JPEG or PNG frames.

    fps is that of a folder of frames (None: 24). most: frames of a video that are listed (None: all). Transparent pixels are
    put over black.
    Raises UserError where there is nothing to read, or only one frame: a fit needs two.
    """
    if path.is_dir():
        images = list_images(path)
        if not images:
            raise UserError(f"{path} holds no JPEG or PNG frames: give a folder of frames or a video file")
        first = picture_header(images[0])
        rate = Fraction(fps).limit_denominator(10000) if fps else Fraction(FOLDER_FPS)
        source = FrameSource(path, first.width, first.height, len(images), rate, images, deep=first.depth > 1)
    elif not path.exists():
        raise UserError(f"{path} is missing: check the path")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path} is one single frame, a fit needs at least two: give a video or a folder of frames")
    else:
        video = probe(path, most)
        source = FrameSource(path, video.width, video.height, video.frames, video.fps, video=video)
        source.conversion = converted(path, video)
        source.deep = source.conversion.deep
    if source.frames < 2:
        raise UserError(f"{path} holds one single frame, a fit needs at least two: give a longer clip")
    if min(source.width, source.height) < SMALLEST:
        raise UserError(f"{path} is {source.width}x{source.height}: frames need at least {SMALLEST} pixels a side")
    if max(source.width, source.height) > LARGEST_SIDE:
        raise UserError(f"{path} is {source.width}x{source.height}: frames have at most {LARGEST_SIDE} pixels a side")
    return source


def has_content(path: Path, sha256: str) -> bool:
    """Whether a file or a folder of frames is there and has this hash (`FrameSource.sha256`); nothing of it is decoded.

    Other things than files, such as a pipe or a disk, are never opened, nor are empty files: those of /proc say that they
    are, and reading one may wait for ever.
    """
    try:
        if path.is_dir():
            images = list_images(path)
            return bool(images) and _content_hash(path, images) == sha256
        return path.is_file() and path.stat().st_size > 0 and _content_hash(path, []) == sha256
    except (OSError, UserError):
        return False


def _content_hash(path: Path, images: Sequence[Path]) -> str:
    return digest(*[part for image in images for part in (image.name, image)]) if images else digest(path)


def list_images(folder: Path) -> list[Path]:
    """List the JPEG and PNG files directly in `folder`, in the order of the numbers in their names.

    Raises UserError where two of them differ in the suffix or in leading zeros alone, or one is a link to nothing.
    """
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    for path in images:
        refuse_lost_link(path)
    images = sorted((path for path in images if path.is_file()), key=natural_order)
    for one, other in pairwise(images):
        if natural_order(one) == natural_order(other):
            raise UserError(f"{folder} holds both {one.name} and {other.name}: keep one of each frame")
    return images


def _gaps(images: Sequence[Path]) -> list[str]:
    """Name the frames between which numbers lack that nearly all of the others have."""
    numbers = [frame_number(path) for path in images]
    steps = np.diff([number if number is not None and number < _COUNTED else 0 for number in numbers])
    usual = np.median(steps) if len(steps) else 0
    if not usual > 0 or (steps == usual).mean() < _MOST:
        return []
    return [f"{images[at].name} and {images[at + 1].name}" for at in np.nonzero(steps > usual)[0].tolist()]


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Make a sort key that puts frame2 before frame10."""
    parts = re.split(r"(\d+)", path.stem)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def frame_number(path: Path) -> int | None:
    """Read the last number in a file's name, None where it has none."""
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


def fitted_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Fit width and height to a longer side of at most `max_side`, the aspect kept; never larger than they were.

    Sides that are chosen here are even: H.264 of odd ones is 4:4:4, which phones and browsers do not play.
    """
    if max(width, height) <= max_side:
        return width, height
    pairs = max_side / max(width, height) / 2
    return max(2, 2 * min(round(width * pairs), max_side // 2)), max(2, 2 * min(round(height * pairs), max_side // 2))


def fit_image(image: np.ndarray, size: tuple[int, int], *, deep: bool = False) -> np.ndarray:
    """Shrink (H, W[, C]) uint8 or uint16 to `size` (width, height) by averaging, as uint8; deep: of the type that it has."""
    if (image.shape[1], image.shape[0]) != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image if deep else to_8_bit(image))
