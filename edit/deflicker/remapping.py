"""Remapping of one frame's image to another frame, by patches that look alike in the source (PatchMatch).

Ours beside the published way: (1) the search may start from optical flow or from the atlas, and where their sub-pixel
correspondence shows the source about as well as the patches do, it is taken: patches move by whole pixels, and among patches
that are alike they choose wrongly; (2) what is remapped weighs as much as the same remap shows the source. Where a place is
hidden in the other frame, that has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.clip.flow import dense_flow
from atlas.geometry.filling import nearest_seen
from atlas.geometry.patch_match import Search, nearest_field, vote
from atlas.geometry.warp import sample
from atlas.maps.tracks import Tracks
from atlas.storage.images import to_uint8
from edit.deflicker.protocol import Guides

Start = Literal["identity", "flow", "atlas"]
_TOGETHER = 8  # pairs of frames at once on a GPU; on a CPU one at a time keeps to the cache
_KEPT = 8  # source frames that wait in memory
_LEAST_FLOW = 16  # pixels a side: below that there is no flow
_VOTERS = 3  # pixels along the patches that vote for the result; published: those of the last pass
_NEAR = 5  # pixels along the window over which a remap of the source is compared with it
_CLEARLY = 0.5, 0.001
"""A place found by patches is taken where it shows the source so much better: share of the squared error, and less by this."""
_MOST_GRAIN = 4  # squares of the trust: what half of a frame misses is grain or light up to here, and beyond that a mismatch
_WHOLE = 0.02  # pixels: offsets so near to whole ones are these, so that what stands still stays as sharp as it is


@dataclass(frozen=True)
class Matching:
    """Settings of the remapping."""

    start: Start
    search: Search
    trust: float | None
    """How far a remap of the source may be off, summed over colours, to weigh exp(-1/2). None: as published, where styles
    count in the search, patches alone tell the place, and all remaps weigh alike."""
    joint: bool
    """Whether all images that are remapped to a frame are sought together, each like their mean."""
    seed: int


class Remapping:
    """Remaps images to other frames: `remap` is an `edit.deflicker.blending.Remap`."""

    def __init__(self, matching: Matching, guides: Guides, device: torch.device) -> None:
        self._matching, self._device = matching, device
        self._source = lru_cache(maxsize=_KEPT)(guides.source)
        self._starts = _starts(matching.start, guides, self._source)
        self._generator = torch.Generator(device).manual_seed(matching.seed)

    def remap(self, images: Iterable[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
        """Remap images (H, W, C + 1), the last channel a weight, to the frame `target`; its own stay as they are."""
        if self._matching.joint:
            yield from self._remapped(list(images), target)
            return
        waiting = iter(images)
        while batch := list(islice(waiting, 1 if self._device.type == "cpu" else _TOGETHER)):
            others = [(number, image) for number, image in batch if number != target]
            remapped = self._remapped(others, target) if others else iter(())
            for number, image in batch:
                yield image if number == target else next(remapped)

    def _remapped(self, batch: list[tuple[int, np.ndarray]], target: int) -> Iterator[np.ndarray]:
        matching = self._matching
        image = self._stacked([each for _, each in batch])
        guides, guide = self._stacked([self._source(number) for number, _ in batch]), self._stacked([self._source(target)])
        start = self._stacked([self._starts(target, number) for number, _ in batch])
        published = matching.trust is None
        field = nearest_field(
            guides,
            guide,
            image[..., :-1] if published or matching.joint else None,
            start=start,
            search=matching.search,
            generator=self._generator,
            joint=matching.joint,
        )
        weighted = torch.cat([image[..., :-1] * image[..., -1:], image[..., -1:]], -1)
        if matching.trust is None:
            remapped = vote(weighted, field, matching.search.sizes[-1])
            weight = remapped[..., -1:]
        else:
            remapped, error = _chosen(torch.cat([weighted, guides], -1), guide, start, field, _MOST_GRAIN * matching.trust**2)
            weight = remapped[..., -1:] * torch.exp(-error / (2 * matching.trust**2))
        colour = remapped[..., :-1] / remapped[..., -1:].clamp(min=1e-6)
        result = torch.cat([colour, weight], -1).clamp(0, 1)
        yield from result.cpu().numpy()

    def _stacked(self, images: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(images)).to(self._device)


def _chosen(
    images: Tensor,  # (B, H, W, C + G): what is remapped, and last the guides
    guide: Tensor,  # (1, H, W, G)
    start: Tensor,  # (B, H, W, 2) pixels
    field: Tensor,  # (B, H, W, 2) int32 pixels
    most_grain: float,
) -> tuple[Tensor, Tensor]:  # (B, H, W, C), (B, H, W, 1)
    """Remap images along `start`, or by patches where these show the guide clearly better; and by what error they show it.

    The error is the mean square around a pixel, summed over colours, beyond what half of the frame is off by.
    """
    remaps = torch.stack([_along(images, start), vote(images, field, _VOTERS)])
    channels = guide.shape[-1]
    errors = ((remaps[..., -channels:] - guide) ** 2).sum(-1)
    straight, patched = F.avg_pool2d(errors, _NEAR, 1, _NEAR // 2, count_include_pad=False)[..., None]
    share, least = _CLEARLY
    # What is off everywhere is grain, or the source's own flicker: it tells of no wrong match.
    grain = straight.flatten(1).median(1).values.clamp(max=most_grain)[:, None, None, None]
    better = patched < share * (straight - grain) - least
    remapped = torch.where(better, remaps[1], remaps[0])
    return remapped[..., :-channels], (torch.where(better, patched, straight) - grain).clamp(min=0)


def _along(images: Tensor, offsets: Tensor) -> Tensor:  # (B, H, W, C), (B, H, W, 2) pixels -> (B, H, W, C)
    """Warp images backwards: image(p + offset(p)), bicubic."""
    height, width = images.shape[1:3]
    whole = offsets.round()
    offsets = torch.where((offsets - whole).abs() < _WHOLE, whole, offsets)
    y, x = (torch.arange(side, device=images.device) + 0.5 for side in (height, width))
    places = torch.stack([(x + offsets[..., 0]) * (2 / width) - 1, (y[:, None] + offsets[..., 1]) * (2 / height) - 1], -1)
    return torch.stack([sample(*pair, mode="bicubic") for pair in zip(images, places, strict=True)])


def _starts(start: Start, guides: Guides, source: Callable[[int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    """Make what tells for a frame and another one where the search for its places there begins: (H, W, 2) pixels, x first."""
    height, width = source(0).shape[:2]
    if start == "atlas" and guides.maps is not None:
        tracks, half = Tracks(guides.maps, guides.maps.layers), np.array([width / 2, height / 2], np.float32)
        centres = tracks.places(0, 0)[0].numpy()

        def along_tracks(frame: int, other: int) -> np.ndarray:
            place, known = (found.numpy() for found in tracks.places(frame, other))
            offsets = (place - centres) * half
            return offsets.reshape(-1, 2)[nearest_seen(known)[1]] if known.any() else offsets

        return along_tracks
    if start == "flow" and min(height, width) >= _LEAST_FLOW:
        return lambda frame, other: dense_flow(to_uint8(source(frame)), to_uint8(source(other)))
    return lambda frame, other: np.zeros((height, width, 2), np.float32)
