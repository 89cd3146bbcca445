"""Optical flow that the user computed (RAFT, SEA-RAFT, ...): which file leads from which frame to which, and reading it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from atlas.clip.given_flow.files import FLOW_SUFFIXES, Size, read_flow
from atlas.errors import UserError
from atlas.video.source import FrameSource, frame_number, natural_order

LAYOUT = "forward/ and backward/ with a file for each step, or files named by both frames (00000_00001.flo)"
_NAMES = {
    "forward": ("forward", "fwd", "flow_fwd", "flow_forward"),
    "backward": ("backward", "bwd", "flow_bwd", "flow_backward"),
}
_LONGEST = 30_000.0
"""Pixels: longer vectors are cut to this; they lead out of every frame, and float16 holds no more than 65504."""

Step = tuple[int, int]
"""Source frames from and to which flow leads."""


@dataclass(frozen=True)
class GivenFlow:
    """The flow of a clip's steps, from files."""

    folder: Path
    forward: list[Path | None]
    """A file for each step of the clip; None where both frames show the same frame of the source."""
    backward: list[Path | None]
    """The same back, all None where the folder holds none."""
    source: Size
    size: Size
    """Width and height of the source, and of the clip."""

    @property
    def files(self) -> list[Path | str]:
        """What decides the flow, for a digest: the files in order."""
        return [path or "none" for path in (*self.forward, *self.backward)]

    @property
    def said(self) -> str:
        """What was understood, in a line."""
        back = "forward and backward" if any(self.backward) else "forward; backward it is computed (DIS)"
        return f"{self.folder} was understood as flow: {sum(path is not None for path in self.forward)} steps, {back}"

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a step's flow there and back at the clip's size, (H, W, 2) float32 pixels, NaN where it is not known.

        None for the way back where it is to be computed. UserError for a file that is damaged or of another size.
        """
        there, back = self.forward[step], self.backward[step]
        if there is None:  # the same picture twice
            still = np.zeros((*self.size[::-1], 2), np.float32)
            return still, still
        return self._read(there), None if back is None else self._read(back)

    def _read(self, path: Path) -> np.ndarray:
        return scaled(read_flow(path, (self.source, self.size)), self.size)


def scaled(flow: np.ndarray, size: Size) -> np.ndarray:
    """Resize flow (H, W, 2) to `size` (width, height), its vectors too. Where half of what a pixel covers is unknown, it is."""
    flow = np.clip(flow, -_LONGEST, _LONGEST)
    height, width = flow.shape[:2]
    if (width, height) == size:
        return flow
    known = np.isfinite(flow).all(axis=-1).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.nan_to_num(flow) * known[..., None], size, interpolation=cv2.INTER_AREA)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / share[..., None] * np.array([size[0] / width, size[1] / height], np.float32)
    return np.where(share[..., None] > 0.5, mean, np.nan).astype(np.float32)


def open_given_flow(folder: Path, source: FrameSource, indices: Sequence[int], size: Size) -> GivenFlow:
    """Find the flow of a clip of `size` (width, height) that shows the source's frames `indices`, and read the first step's.

    Files named by two frames (`00000_00001.flo`, `00001_00000.flo`, `00000.jpg_00001.jpg.npy`) lead from the first to the
    second, those in `backward` to the earlier one. Others stand in `forward` and `backward` below the folder, or in it, forward
    alone. One file less than the source has frames (or as many) are taken in order; fewer by the name or number of the frame
    they start from; backward files are as many as forward ones, in the same order. UserError where a step has none.
    """
    if not folder.is_dir():
        raise UserError(f"--flow {folder} is not a folder: give one with {LAYOUT}")
    forward, backward = (_way(folder, way) for way in ("forward", "backward"))
    steps = list(zip(indices, list(indices)[1:], strict=False))
    returning = _flow_files(backward) if backward else []
    ahead = [path for part in (folder, forward) if part for path in _flow_files(part)]
    known: dict[Step, Path] = _by_pairs(ahead, returning, source)
    if not known:
        known = _in_folders(_flow_files(forward or folder), returning, source, folder)
    there = [None if one == other else known.get((one, other)) for one, other in steps]
    back = [None if one == other else known.get((other, one)) for one, other in steps]
    moving = [place for place, (one, other) in enumerate(steps) if one != other]
    for name, paths in (("", there), ("backward ", back)):
        missing = [place for place in moving if paths[place] is None]
        if missing and (not name or len(missing) < len(moving)):
            one, other = steps[missing[0]][:: -1 if name else 1]
            raise UserError(f"--flow {folder} has no {name}flow from frame {one} to {other}: give {LAYOUT}")
    given = GivenFlow(folder, there, back, (source.width, source.height), size)
    if moving:
        given(moving[0])
    return given


def _way(folder: Path, way: str) -> Path | None:
    return next((folder / name for name in _NAMES[way] if (folder / name).is_dir()), None)


def _flow_files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in FLOW_SUFFIXES and not path.name.startswith(".")]
    return sorted((path for path in files if path.is_file()), key=natural_order)


def _by_pairs(ahead: list[Path], returning: list[Path], source: FrameSource) -> dict[Step, Path]:
    """Files named by two frames each; nothing where they are not. returning: lead back, whichever frame they name first."""
    files = [*ahead, *returning]
    numbers = [re.findall(r"\d+", path.stem)[-2:] for path in files]
    if not all(len(two) == 2 and len(two[0]) == len(two[1]) and two[0] != two[1] for two in numbers):
        return {}
    if len(files) > 2 and len({two[0] for two in numbers}) == 1:  # the clip's own number, and a frame's
        return {}
    frames = _frames_by_number(source)
    pairs: dict[Step, Path] = {}
    for (first, second), path, back in zip(numbers, files, [False] * len(ahead) + [True] * len(returning), strict=True):
        one, other = frames.get(int(first)), frames.get(int(second))
        if one is not None and other is not None:
            pairs[(max(one, other), min(one, other)) if back else (one, other)] = path
    return pairs


def _in_folders(forward: list[Path], backward: list[Path], source: FrameSource, folder: Path) -> dict[Step, Path]:
    if not forward:
        raise UserError(f"--flow {folder} holds no flow (.flo, .npy or 16-bit PNG): give {LAYOUT}")
    if backward and len(backward) != len(forward):
        raise UserError(f"--flow {folder} has {len(forward)} files forward and {len(backward)} backward: give as many of both")
    if len(forward) in (source.frames - 1, source.frames):
        starts: list[int | None] = list(range(source.frames - 1))
    else:
        by_name = {path.stem: place for place, path in enumerate(source.images)}
        frames = _frames_by_number(source)
        numbers = [frame_number(path) for path in forward]
        starts = [
            by_name.get(path.stem, None if number is None else frames.get(number))
            for path, number in zip(forward, numbers, strict=True)
        ]
    there = {(start, start + 1): path for start, path in zip(starts, forward, strict=False) if start is not None}
    back = {(start + 1, start): path for start, path in zip(starts, backward, strict=False) if start is not None}
    return there | back


def _frames_by_number(source: FrameSource) -> dict[int, int]:
    """The source's frames by the numbers in their names; those of a film count from 0."""
    numbers = [frame_number(path) for path in source.images]
    if not numbers or None in numbers or len(set(numbers)) < len(numbers):
        return {index: index for index in range(source.frames)}
    return {number: index for index, number in enumerate(numbers) if number is not None}
