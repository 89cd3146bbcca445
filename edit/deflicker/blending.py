"""Blending of frames that are remapped to each other: the mean over a window, frame by frame or over a table of partial means.

How an image of one frame is remapped to another is the caller's. Images are (H, W, C + 1), floats in [0, 1]: colours, not
premultiplied, and last what they weigh in a mean. FastBlend (2023): its balanced and its fast mode; its accurate mode is the
balanced one, of remaps that are sought together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress

Images = Callable[[int], np.ndarray]
"""Reads the image of a frame by its number."""
Remap = Callable[[Iterable[tuple[int, np.ndarray]], int], Iterator[np.ndarray]]
"""Remaps images, each with the number of the frame that it looks like, to the frame of a number; one result for each image."""


def window_means(images: Images, count: int, remap: Remap, window: int) -> Generator[np.ndarray, None, None]:
    """Blend each of `count` frames with the remaps of those at most `window` before and after it: their mean (balanced mode).

    About 2 window count remaps are made. Yields images; where nothing weighs anything colours are 0.
    """
    for target in range(count):
        around = range(max(0, target - window), min(count, target + window + 1))
        remapped = remap(((number, images(number)) for number in around), target)
        yield _mean(_summed(remapped, [1] * len(around)), len(around))


def table_means(
    images: Images, count: int, remap: Remap, window: int, table: Path, *, quiet: bool = True
) -> Generator[np.ndarray, None, None]:
    """Blend as `window_means` in O(n log n) remaps (fast mode): the sum over a window is put together from partial means.

    With remaps that change nothing the result is that of `window_means`; those of far frames are otherwise remapped twice.
    table: where to keep up to 2 n images on the disk; the files are deleted with the last frame, or when the iteration is
    closed.
    """
    order = range(count)
    before = _Table(images, remap, window, order)
    after = _Table(images, remap, window, order[::-1])
    shape = images(0).shape
    with before.kept(table.with_name(f"{table.name}-before"), shape), after.kept(table.with_name(f"{table.name}-after"), shape):
        before.build(quiet=quiet)
        after.build(quiet=quiet)
        for target in range(count):
            total = before.window_sum(target) + after.window_sum(count - 1 - target) - _summed(iter([images(target)]), [1])
            yield _mean(total, min(window, target) + 1 + min(window, count - 1 - target))


class _Table:
    """Sums of 2, 4, 8, ... frames up to one of them, as that one shows them (a Fenwick tree), in one direction of time.

    Frames are counted along `order`. The node (last, level) is the sum of the 2^level frames up to `last`; there is one for
    each level up to the number of ones that `last` ends with in binary. What it has beyond the node of the level below, the
    farther half of its frames, is kept on the disk as a mean.
    """

    def __init__(self, images: Images, remap: Remap, window: int, order: range) -> None:
        self._images, self._remap, self._window, self._order = images, remap, window, order
        highest = (window + 1).bit_length() - 1  # a larger node never fits into the window
        self._levels = [min(_ones_at_the_end(last), highest) for last in range(len(order))]
        self._first = np.cumsum([0, *self._levels]).tolist()

    def kept(self, path: Path, shape: tuple[int, ...]) -> FrameStack:
        """Make the file of the halves; to be closed by the caller."""
        self._halves = FrameStack(path, (self._first[-1], *shape))
        return self._halves

    def build(self, *, quiet: bool) -> None:
        """Compute the halves of all nodes, from the frames themselves: these are remapped once."""
        for last in Progress(range(len(self._order)), desc="table of means", unit="frame", quiet=quiet):
            for level in range(1, self._levels[last] + 1):
                half = 1 << (level - 1)
                farther = range(last - 2 * half + 1, last - half + 1)
                images = ((self._order[number], self._image(number)) for number in farther)
                total = _summed(self._remap(images, self._order[last]), [1] * half)
                self._halves[self._first[last] + level - 1] = _mean(total, half)

    def window_sum(self, target: int) -> np.ndarray:  # (H, W, C + 1)
        """Sum the frames of the window up to `target`, as it shows them: of nodes from it backwards."""
        nodes = list(_nodes(max(0, target - self._window), target))
        images = ((self._order[last], self._node(last, level)) for last, level in nodes)
        return _summed(self._remap(images, self._order[target]), [1 << level for _, level in nodes])

    def _node(self, last: int, level: int) -> np.ndarray:
        """The mean of a node's frames."""
        halves = (self._halves[self._first[last] + below] for below in range(level))
        parts = iter([self._image(last), *halves])
        return _mean(_summed(parts, [1, *(1 << below for below in range(level))]), 1 << level)

    def _image(self, number: int) -> np.ndarray:
        return self._images(self._order[number])


def _nodes(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut the frames from `first` to `last` into nodes (last, level) of a table, from the end: as few as there can be."""
    while last >= first:
        level = min(_ones_at_the_end(last), (last - first + 1).bit_length() - 1)
        yield last, level
        last -= 1 << level


def _ones_at_the_end(number: int) -> int:
    """Count the ones that a number ends with in binary."""
    return (~number & (number + 1)).bit_length() - 1


def _summed(images: Iterator[np.ndarray], counts: Sequence[int]) -> np.ndarray:  # (H, W, C + 1)
    """Sum images that stand for so many frames each: colours times weight, and last the weights."""
    total: np.ndarray | None = None
    for image, count in zip(images, counts, strict=True):
        weight = image[..., -1:] * np.float32(count)
        part = np.concatenate([image[..., :-1] * weight, weight], -1)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("there is no image to sum")
    return total


def _mean(total: np.ndarray, count: int) -> np.ndarray:
    """The image that stands for a sum of `count` frames."""
    colour = total[..., :-1] / np.maximum(total[..., -1:], np.float32(1e-6))
    return np.concatenate([colour, total[..., -1:] / np.float32(count)], -1)
