"""Votes of frames on what an atlas shows, and their mean: of all frames or of those around each, odd looks counting less.

Each pass reads the frames one by one. Sums are kept, not means, so that what leaves a window can be taken away again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from atlas.geometry.boxes import Box
from atlas.maps.votes.sheet import Frames, Pixels, Sheet, Vote
from atlas.system.progress import Progress

Mean = Callable[[Box], Tensor]
"""Mean colours (h, w, 3) in a box of a sheet."""
_ALL: Box = (slice(None), slice(None))
_ODD = 0.08  # distance of colours from which a look counts little
_DARK = 0.02  # added to colours before they are divided: black says nothing about exposure
_WHOLE = 0.5  # weight of the pixels that exposure is measured at
_SOME = 20_000  # of them
_LEAST = 1e-12  # that sums are divided by


class Sums:
    """Weighted sums of votes over a sheet. The mean of votes that are all the same is what they say, to the bit."""

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        # Apple's GPU has no doubles: there, what leaves a window leaves a rounding error behind.
        kind = torch.float32 if device.type == "mps" else torch.float64
        self._total = torch.zeros(*size, 4, dtype=kind, device=device)

    def add(self, vote: Vote, sign: int = 1) -> None:
        """Add a vote; with sign -1 take one away that was added."""
        total, weight = self._total[vote.box], vote.weight.to(self._total.dtype)
        total[..., :3].addcmul_(vote.colour.to(weight.dtype), weight, value=sign)
        total[..., 3:].add_(weight, alpha=sign)

    def mean(self, box: Box = _ALL) -> Tensor:  # (h, w, 3) float32
        """Divide the sums by their weights, in a box of the sheet."""
        total = self._total[box]
        return (total[..., :3] / total[..., 3:].clamp(min=_LEAST)).float()


class Votes:
    """What frames say of one layer's sheet."""

    def __init__(self, frames: Frames, sheet: Sheet, *, quiet: bool = True) -> None:
        self.frames, self.sheet, self.quiet = frames, sheet, quiet
        self._gains = torch.ones(len(frames), 3)
        self._common: Tensor | None = None  # (H, W, 3)

    def of(self, index: int) -> Vote | None:
        """What a frame says; None where it does not show the layer."""
        pixels = self.sheet.pixels(index)
        if pixels is None:
            return None
        vote = pixels.vote(pixels.unlit(self.frames[index]) * self._gains[index].to(self.sheet.device))
        if self._common is None:
            return vote
        distance = (vote.colour - self._common[vote.box]).square().sum(-1, keepdim=True)
        return replace(vote, weight=vote.weight / (1 + distance / _ODD**2).square())

    def match_exposures(self) -> None:
        """Match from now on each frame's exposure to the mean's, by the median ratio of their colours in each channel.

        The exposure of the clip as a whole, the geometric mean of its frames', stays as it is.
        """
        mean, gains = self._summed().mean(), torch.ones_like(self._gains)
        seen = []
        for index in range(len(self.frames)):
            if pixels := self.sheet.pixels(index):
                gains[index] = _exposure(pixels, pixels.unlit(self.frames[index]), mean)
                seen.append(index)
        self._gains[seen] = gains[seen] / gains[seen].log().mean(0).exp()

    def weigh_odd_looks_down(self) -> None:
        """Let a look count the less the further it is from the mean from now on: the commoner one wins, instead of a blend."""
        self._common = self._summed().mean()

    def means(self, window: int | None) -> Iterator[Mean]:
        """Average, for each frame in turn, what those say that are at most `window` before or after it; None: all.

        A mean holds until the next one is asked for.
        """
        if window is not None and window < len(self.frames) - 1:
            return self._means_around(window)
        whole = self._summed().mean()
        return repeat(whole.__getitem__, len(self.frames))

    def _means_around(self, window: int) -> Iterator[Mean]:
        sums, count = Sums(self.sheet.size, self.sheet.device), len(self.frames)
        for index in range(-window, count):
            for other, sign in ((index + window, 1), (index - window - 1, -1)):
                if 0 <= other < count and (vote := self.of(other)):
                    sums.add(vote, sign)
            if index >= 0:
                yield partial(self._level_with, sums, slice(max(index - window, 0), index + window + 1))

    def _level_with(self, sums: Sums, window: slice, box: Box) -> Tensor:
        """The mean of a window, at the window's own exposure instead of the clip's."""
        exposure = self._gains[window].log().mean(0).exp()
        return sums.mean(box) / exposure.to(self.sheet.device)

    def _summed(self) -> Sums:
        sums = Sums(self.sheet.size, self.sheet.device)
        for index in Progress(range(len(self.frames)), f"consensus {self.sheet.layer}", unit="frame", quiet=self.quiet):
            if vote := self.of(index):
                sums.add(vote)
        return sums


def _exposure(pixels: Pixels, unlit: Tensor, mean: Tensor) -> Tensor:  # (M, 3), (H, W, 3) -> (3,)
    """By what a frame's colours are to be multiplied to be as bright as the mean's."""
    agreed = pixels.footprint.look_up(mean[pixels.footprint.box])
    whole = torch.nonzero(pixels.weight[:, 0] >= _WHOLE * float(pixels.weight.max()))[:, 0]
    whole = whole[:: max(1, len(whole) // _SOME)]
    return ((agreed[whole] + _DARK) / (unlit[whole] + _DARK)).median(0).values.cpu()
