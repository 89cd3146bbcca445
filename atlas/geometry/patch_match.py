"""PatchMatch: for each pixel of an image the place of another image whose patch looks most like its own.

    error(p) = sum over o of  guide_weight |G_j(p + f(p) + o) - G_i(p + o)|^2 + |S_j(p + f(p) + o) - T(p + o)|^2

G: guides, such as the unedited frames; S: styles, such as the edited ones; T: the style that the field itself votes for;
f: the field, whole pixels from image i to image j; o: the places of a patch. Images are 0 outside.

Barnes et al., "PatchMatch" (2009); with guides and votes: Jamriska et al., "Stylizing Video by Example" (2019), and
FastBlend (2023), whose sizes, weights and order of steps are the defaults here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_TILE = 65536  # numbers that are compared at once: they stay in a CPU's cache
_SLACK = 1e-6
"""An error counts as lower when it is so by this share of what it was summed from: rounding alone moves nothing."""


@dataclass(frozen=True)
class Search:
    """How nearest patches are searched; the published settings."""

    sizes: tuple[int, ...] = (13, 11, 9, 7, 5)
    """Sides of the patches, odd, one pass each."""
    levels: int | None = None
    """Levels of the pyramid, each half the size of the one before; None: as many as hold a patch of the first size."""
    searches: int = 3
    """Random searches in each pass."""
    reach: int = 4
    """Pixels that these go in each direction at most."""
    guide_weight: float = 10.0
    """What the guides weigh beside the styles."""

    def levels_of(self, height: int, width: int) -> int:
        """Levels of the pyramid for images of this size."""
        return self.levels or max(1, int(math.log2(max(1.0, min(height, width) / self.sizes[0]))))


def nearest_field(
    guides: Tensor,  # (B, H, W, G): of the images that are looked into
    target: Tensor,  # (B or 1, H, W, G): of the images whose patches are looked for
    styles: Tensor | None,  # (B, H, W, C); None: guides alone decide
    *,
    generator: torch.Generator,
    search: Search | None = None,
    start: Tensor | None = None,  # (B, H, W, 2) pixels, x first; None: every pixel at its own place
    joint: bool = False,
) -> Tensor:  # (B, H, W, 2) int32 pixels, x first
    """Search for the nearest-neighbour field by PatchMatch: the patch at p of `target` is like that at p + field of `guides`.

    start: what the search begins with, on the coarsest level; what leaves the image is moved to its border.
    joint: all of a batch vote together, for one target seen in many images. generator: on the images' device.
    No error is above the start's; where guides equal the target and the start is the identity, so is the field.
    """
    search = search or Search()
    height, width = target.shape[1:3]
    levels, weight = search.levels_of(height, width), math.sqrt(search.guide_weight)
    # All orders at once: to read them is to wait for the device.
    orders = torch.rand(levels, len(search.sizes), 4, generator=generator, device=guides.device).argsort(-1).tolist()
    field = guides.new_zeros(len(guides), height, width, 2) if start is None else start
    offsets = _Offsets(*field.unbind(-1)[::-1])
    for level in reversed(range(levels)):
        size = (max(1, height >> level), max(1, width >> level))
        offsets = offsets.resized(*size).inside()
        images, wanted = (_shrunk(image, size) * weight for image in (guides, target))
        style = None if styles is None else _shrunk(styles, size)
        for side, order in zip(search.sizes, orders[level], strict=True):
            patches = _Patches(images, wanted, side) if style is None else _styled(images, wanted, style, offsets, side, joint)
            offsets = _refined(patches, offsets, search, order, generator)
    return offsets.field()


def vote(
    styles: Tensor,  # (B, H, W, C)
    field: Tensor,  # (B, H, W, 2) int pixels, x first
    side: int,
) -> Tensor:  # (B, H, W, C)
    """Remap images along a nearest-neighbour field by vote: each pixel is the mean of what all patches over it show there.

    T(p) = mean over o of S(p + f(p + o)); patches around places outside the image, and what they show outside, are left out.
    side: of the patches, in pixels, odd. The identity returns the image.
    """
    radius = side // 2
    height, width = styles.shape[1:3]
    counted = torch.cat([styles, styles.new_ones(*styles.shape[:-1], 1)], -1)
    padded = F.pad(counted, (0, 0, radius, radius, radius, radius))
    rows, places = padded.flatten(0, 2), _numbered(padded)[:, radius:, radius:]
    steps = field[..., 1] * padded.shape[2] + field[..., 0]
    total = torch.zeros_like(counted)
    down, across = (range(-reach, reach + 1) for reach in (min(radius, height - 1), min(radius, width - 1)))
    for dy, dx in product(down, across):
        y, x = _led(height, dy), _led(width, dx)
        shown = places[:, y, x] + steps[:, _moved(y, dy), _moved(x, dx)]
        total[:, y, x] += rows.index_select(0, shown.reshape(-1)).view(*shown.shape, -1)
    return total[..., :-1] / total[..., -1:]


def error(
    images: Tensor,  # (B, H, W, C)
    target: Tensor,  # (B or 1, H, W, C)
    field: Tensor,  # (B, H, W, 2) int pixels, x first
    side: int,
) -> Tensor:  # (B, H, W)
    """Sum the squared differences between patches of `target` and those of `images` to which a field leads (SSD).

    side: of the patches, in pixels, odd. Images are 0 outside. Channels count alike: scale those that weigh more.
    """
    return _Patches(images, target, side).error(_Offsets(*field.unbind(-1)[::-1]))


class _Offsets(NamedTuple):
    """A field as two planes."""

    down: Tensor  # (B, H, W) pixels
    across: Tensor

    def field(self) -> Tensor:  # (B, H, W, 2)
        return torch.stack([self.across, self.down], -1)

    def turned(self) -> _Offsets:
        """The same with rows for columns; what is written to one shows in the other."""
        return _Offsets(self.across.mT, self.down.mT)

    def inside(self) -> _Offsets:
        """Move what leads out of the image to its border."""
        height, width = self.down.shape[1:]
        y = torch.arange(height, dtype=torch.int32, device=self.down.device)[:, None]
        x = torch.arange(width, dtype=torch.int32, device=self.down.device)
        return _Offsets((self.down + y).clamp_(0, height - 1).sub_(y), (self.across + x).clamp_(0, width - 1).sub_(x))

    def resized(self, height: int, width: int) -> _Offsets:  # (B, height, width) int32
        """Take the field to another level: each pixel has the offset of the one that it lies in, in its own pixels."""
        sides, device = self.down.shape[1:], self.down.device
        y, x = (torch.arange(new, device=device) * old // new for new, old in zip((height, width), sides, strict=True))
        scaled = (plane[:, y][:, :, x] * (new / old) for plane, new, old in zip(self, (height, width), sides, strict=True))
        return _Offsets(*(plane.round().to(torch.int32) for plane in scaled))


def _styled(images: Tensor, wanted: Tensor, styles: Tensor, offsets: _Offsets, side: int, joint: bool) -> _Patches:
    """Patches of guides and styles: what is wanted of a style is what the field votes for."""
    voted = vote(styles, offsets.field(), side)
    voted = voted.mean(0, keepdim=True).expand_as(voted) if joint else voted
    target = torch.cat([wanted.expand(len(voted), -1, -1, -1), voted], -1)
    return _Patches(torch.cat([images, styles], -1), target, side)


def _refined(patches: _Patches, offsets: _Offsets, search: Search, order: list[int], generator: torch.Generator) -> _Offsets:
    """Make one pass: propagate downwards, upwards, to the right and to the left in some order, then search at random."""
    lowest, turned = patches.error(offsets), patches.turned()
    for direction in order:
        step = 1 - 2 * (direction % 2)
        if direction < 2:
            patches.propagate(offsets, lowest, step)
        else:
            turned.propagate(offsets.turned(), lowest.mT, step)
    for _ in range(search.searches):
        shape, ends = (2, *lowest.shape), (-search.reach, search.reach + 1)
        steps = torch.randint(*ends, shape, generator=generator, dtype=torch.int32, device=lowest.device)
        tried = _Offsets(*(plane + step for plane, step in zip(offsets, steps, strict=True))).inside()
        found = patches.error(tried)
        lower = found < lowest * (1 - _SLACK)
        lowest = torch.where(lower, found, lowest)
        offsets = _Offsets(*(torch.where(lower, new, old) for new, old in zip(tried, offsets, strict=True)))
    return offsets


class _Patches:
    """Patches of a target, to be compared with those of images. A patch is looked up row by row."""

    def __init__(self, images: Tensor, target: Tensor, side: int) -> None:  # (B, H, W, C), (B or 1, H, W, C)
        self._images, self._target, self._side = images, target, side
        channels, margin = images.shape[-1], side // 2 + 1
        # One pixel more than patches reach: that is where the next one enters.
        padded, wanted = (F.pad(each, (0, 0, *(margin,) * 4)).contiguous() for each in (images, target))
        self._width, self._places = padded.shape[2], _numbered(padded)[:, :, 1:]
        # What begins at a pixel is a row of a patch: an overlapping view.
        row = side * channels
        self._rows = padded.as_strided((padded.numel() // channels - side + 1, row), (channels, 1))
        self._wanted = wanted.unfold(2, side, 1)[:, :, 1:-1].transpose(-1, -2).reshape(*wanted.shape[:2], -1, row)

    def error(self, offsets: _Offsets) -> Tensor:  # (B, H, W)
        """Of the patches around all pixels."""
        return self._summed(offsets, 0, [(row, 1) for row in range(1, self._side + 1)])

    def turned(self) -> _Patches:
        """The same with rows for columns."""
        return _Patches(self._images.transpose(1, 2), self._target.transpose(1, 2), self._side)

    def propagate(self, offsets: _Offsets, lowest: Tensor, step: int) -> None:  # (B, H, W) errors
        """Try each pixel's offset on the next one below (step 1) or above (-1), in place.

        The patch's error there follows from its error here: one row leaves it and another one enters.
        """
        height = lowest.shape[1]
        here = _led(height, step)
        there = _moved(here, step)
        tried = _Offsets(*(plane[:, here] for plane in offsets))
        entering, leaving = (self._side + 1, 1) if step > 0 else (0, self._side)
        before, known = lowest[:, here], lowest[:, there]
        found = before + self._summed(tried, here.start, [(entering, 1), (leaving, -1)])
        place = tried.down + torch.arange(there.start, there.stop, dtype=torch.int32, device=found.device)[:, None]
        lower = (found + _SLACK * before < known) & (place >= 0) & (place < height)
        for plane, new in zip((*offsets, lowest), (*tried, found), strict=True):
            plane[:, there] = torch.where(lower, new, plane[:, there])

    def _summed(self, offsets: _Offsets, first: int, rows: Sequence[tuple[int, int]]) -> Tensor:  # (B, h, W)
        """Sum squared differences over some rows of the patches, counted from above them, each with its sign.

        first: row of the image that the offsets begin with.
        """
        batch, height, width = offsets.down.shape
        corner = self._places[:, first : first + height, :width] + offsets.down * self._width + offsets.across
        length = self._rows.shape[1]
        ones, sums = self._rows.new_ones(length), []
        tile = max(1, _TILE // (batch * width * length)) if corner.device.type == "cpu" else height
        for start in range(0, max(1, height), tile):
            part = corner[:, start : start + tile]
            place, shape = part.reshape(-1), (*part.shape, length)
            total = self._rows.new_zeros(len(place), length)
            for row, sign in rows:
                difference = self._rows[row * self._width :].index_select(0, place)
                top = first + start + row
                difference.view(shape).sub_(self._wanted[:, top : top + shape[1]])
                total.addcmul_(difference, difference, value=sign)
            sums.append((total @ ones).view(part.shape))
        return torch.cat(sums, 1)


def _numbered(images: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W) int32
    """Number the pixels of a batch."""
    return torch.arange(images.shape[:3].numel(), dtype=torch.int32, device=images.device).view(images.shape[:3])


def _led(length: int, step: int) -> slice:
    """The places from which a step leads to a place inside."""
    return slice(max(0, -step), length - max(0, step))


def _moved(places: slice, step: int) -> slice:
    return slice(places.start + step, places.stop + step)


def _shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:  # (B, H, W, C) -> (B, h, w, C)
    """Average images over the cells of a coarser grid."""
    if images.shape[1:3] == size:
        return images
    return F.interpolate(images.permute(0, 3, 1, 2), size, mode="area").permute(0, 2, 3, 1).contiguous()
