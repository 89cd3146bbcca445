"""PatchMatch: for each pixel of an image the place of another image whose patch looks most like its own.

    error(p) = sum over o of  guide_weight |G_j(p + f(p) + o) - G_i(p + o)|^2 + |S_j(p + f(p) + o) - T(p + o)|^2

G: guides, such as the unedited frames; S: styles, such as the edited ones; T: the style that the field itself votes for;
f: the field, whole pixels from image i to image j; o: the places of a patch. Images are 0 outside.

Barnes et al., "PatchMatch" (2009); with guides and votes: Jamriska et al., "Stylizing Video by Example" (2019), and
FastBlend (2023), whose sizes, weights and order of steps are the defaults here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # y, x: the way from a pixel to the one that tries its offset
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
    field = torch.zeros(len(guides), height, width, 2, device=guides.device) if start is None else start
    for level in reversed(range(levels)):
        size = (max(1, height >> level), max(1, width >> level))
        field = _inside(_resized_field(field, size))
        images, wanted = (_shrunk(image, size) * weight for image in (guides, target))
        style = None if styles is None else _shrunk(styles, size)
        for side, order in zip(search.sizes, orders[level], strict=True):
            patches = _Patches(images, wanted, side) if style is None else _styled(images, wanted, style, field, side, joint)
            field = _refined(patches, field, search, order, generator)
    return field


def _styled(images: Tensor, wanted: Tensor, styles: Tensor, field: Tensor, side: int, joint: bool) -> _Patches:
    """Patches of guides and styles: what is wanted of a style is what the field votes for."""
    voted = vote(styles, field, side)
    voted = voted.mean(0, keepdim=True).expand_as(voted) if joint else voted
    target = torch.cat([wanted.expand(len(voted), -1, -1, -1), voted], -1)
    return _Patches(torch.cat([images, styles], -1), target, side)


def _refined(patches: _Patches, field: Tensor, search: Search, order: list[int], generator: torch.Generator) -> Tensor:
    """Make one pass: propagate in four directions, then search at random."""
    lowest = patches.error(field)
    for direction in order:
        field, lowest = patches.propagated(field, lowest, *_DIRECTIONS[direction])
    for _ in range(search.searches):
        steps = torch.randint(
            -search.reach, search.reach + 1, field.shape, generator=generator, dtype=torch.int32, device=field.device
        )
        other = _inside(field + steps)
        found = patches.error(other)
        lower = found < lowest * (1 - _SLACK)
        field, lowest = torch.where(lower[..., None], other, field), torch.where(lower, found, lowest)
    return field


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
    grid = _Grid(torch.cat([styles, styles.new_ones(*styles.shape[:-1], 1)], -1), radius)
    total = torch.zeros_like(grid.inner)
    reaches = (min(radius, length - 1) for length in (height, width))
    for dy, dx in product(*(range(-reach, reach + 1) for reach in reaches)):
        here = _led(height, dy), _led(width, dx)
        voters = field[:, _moved(here[0], dy), _moved(here[1], dx)]
        centres = _moved(here[0], radius), _moved(here[1], radius)
        total[:, here[0], here[1]] += grid.looked_up(grid.corners(voters, centres), 0, 0)
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
    return _Patches(images, target, side).error(field)


class _Grid:
    """Images with a margin as rows of channels, to be looked up around the places that a field leads to."""

    def __init__(self, images: Tensor, radius: int) -> None:  # (B, H, W, C)
        self.margin = radius
        self.inner = images
        self.padded = F.pad(images, (0, 0, radius, radius, radius, radius))
        batch, self._height, self._width, channels = self.padded.shape
        self._rows = self.padded.view(-1, channels)
        number = torch.arange(batch * self._height * self._width, dtype=torch.int32, device=images.device)
        self._corners = number.view(batch, self._height, self._width)

    def corners(self, field: Tensor, here: tuple[slice, slice]) -> Tensor:  # (B, h, w, 2) of a part of the image
        """Number the rows at the upper left corner of the patches to which a field leads, (B, h, w)."""
        corner = self._corners[:, here[0], here[1]]
        return corner + field[..., 1] * self._width + field[..., 0]

    def looked_up(self, corners: Tensor, down: int, right: int) -> Tensor:  # (B, h, w, C)
        """Look up the pixels so many steps from the corners."""
        rows = self._rows[down * self._width + right :]
        return rows.index_select(0, corners.reshape(-1)).view(*corners.shape, -1)


class _Patches:
    """Patches of a target, to be compared with those of images."""

    def __init__(self, images: Tensor, target: Tensor, side: int) -> None:
        self._side, self._radius = side, side // 2
        # One pixel more than a patch reaches: that is where the next one enters.
        self._images = _Grid(images, self._radius + 1)
        self._target = F.pad(target, (0, 0, *(self._radius + 1,) * 4))
        self._height, self._width = target.shape[1:3]

    def error(self, field: Tensor) -> Tensor:
        """Of the patches around all pixels, (B, H, W)."""
        here = slice(0, self._height), slice(0, self._width)
        inside = range(1, self._side + 1)
        return self._summed(field, here, product(inside, inside))

    def propagated(self, field: Tensor, lowest: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
        """Try each pixel's offset on the next one: what the patch gains and loses on the way tells its error."""
        here = _led(self._height, dy), _led(self._width, dx)
        tried, before = field[:, here[0], here[1]], lowest[:, here[0], here[1]]
        inside = range(1, self._side + 1)
        ahead, behind = (self._side + 1, 1) if dy + dx > 0 else (0, self._side)
        entering, leaving = (product([ahead], inside), product([behind], inside))
        if dx:
            entering, leaving = product(inside, [ahead]), product(inside, [behind])
        found = before + self._summed(tried, here, entering) - self._summed(tried, here, leaving)
        there = _moved(here[0], dy), _moved(here[1], dx)
        old, known = field[:, there[0], there[1]], lowest[:, there[0], there[1]]
        lower = (found + _SLACK * before < known) & self._stays(tried, there)
        field, lowest = field.clone(), lowest.clone()
        field[:, there[0], there[1]] = torch.where(lower[..., None], tried, old)
        lowest[:, there[0], there[1]] = torch.where(lower, found, known)
        return field, lowest

    def _summed(self, field: Tensor, here: tuple[slice, slice], places: Iterable[tuple[int, int]]) -> Tensor:
        corners = self._images.corners(field, here)
        total = torch.zeros(*corners.shape, self._target.shape[-1], device=field.device)
        for down, right in places:
            difference = self._images.looked_up(corners, down, right)
            difference -= self._target[:, _moved(here[0], down), _moved(here[1], right)]
            total.addcmul_(difference, difference)
        return total.sum(-1)

    def _stays(self, field: Tensor, there: tuple[slice, slice]) -> Tensor:
        """Whether offsets lead from these pixels to places inside the image."""
        y = torch.arange(self._height, dtype=torch.int32, device=field.device)[there[0], None] + field[..., 1]
        x = torch.arange(self._width, dtype=torch.int32, device=field.device)[there[1]] + field[..., 0]
        return (y >= 0) & (y < self._height) & (x >= 0) & (x < self._width)


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


def _resized_field(field: Tensor, size: tuple[int, int]) -> Tensor:  # (B, H, W, 2) -> (B, h, w, 2) int32
    """Take a field to another level: each pixel has the offset of the one that it lies in, in its own pixels."""
    rows, columns = (
        torch.arange(new, device=field.device) * old // new for new, old in zip(size, field.shape[1:3], strict=True)
    )
    scale = field.new_tensor([size[1] / field.shape[2], size[0] / field.shape[1]], dtype=torch.float32)
    return (field[:, rows][:, :, columns] * scale).round().to(torch.int32)


def _inside(field: Tensor) -> Tensor:  # (B, H, W, 2) int32
    """Move what leads out of the image to its border."""
    height, width = field.shape[1:3]
    y = torch.arange(height, dtype=torch.int32, device=field.device)[:, None]
    x = torch.arange(width, dtype=torch.int32, device=field.device)
    return torch.stack([(field[..., 0] + x).clamp(0, width - 1) - x, (field[..., 1] + y).clamp(0, height - 1) - y], -1)
