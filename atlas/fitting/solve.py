"""Closed-form passes over a whole clip: least-squares atlases and light, given the maps.

A pass reads every frame once, composites the layers and looks at what is left over. Atlases take the
left-over by simultaneous iterative reconstruction (each texel moves by the mean left-over of the pixels
that see it), which converges to the least-squares atlas; light takes it as a smooth gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.geometry.boxes import EMPTY, bounding_box
from atlas.geometry.filling import cell_means, fill_unseen, wide_blur
from atlas.geometry.warp import sample_planes, splat_planes
from atlas.maps.maps import Maps
from atlas.model.layered import LayeredAtlas
from atlas.system.parallel import in_order

Result = TypeVar("Result")
Splatted = tuple[tuple[slice, slice], Tensor]
"""Rows and columns of an atlas, and the sums for them (`splat_planes`)."""
WHOLE = (slice(None), slice(None))
"""The box of a whole frame."""

LIGHT_STRIDE = 8
"""Pixels between neighbouring nodes of the light's grid."""
LIGHT_SIGMA = 0.05
"""Smoothness of the light over space, in sides of the layer's visible area: a few parts of a small object are lit apart."""
LIGHT_SIGMA_PIXELS = (6.0, 16.0)
"""Bounds of that smoothness, in pixels: too coarse to paint texture."""
LIGHT_SIGMA_TIME = 1.0
"""Smoothness over time, in frames."""
LIGHT_LIMIT = 1.2
"""Largest |log gain|: a factor of 3.3 between a layer's atlas and its look in a frame."""
_LIGHT_PRIOR = 2e-3
"""Weight of gain 1 against a mean square brightness: what is nearly black has no light to estimate."""


class FrameSet:
    """Frames and maps of a clip as tensors on a device, one frame at a time."""

    def __init__(self, frames: Callable[[int], np.ndarray], maps: Maps, model: LayeredAtlas, device: torch.device) -> None:
        self.frames, self.maps, self.model, self.device = frames, maps, model, device
        self.count = maps.frames

    def colours(self, t: int) -> Tensor:  # (3, H, W)
        """Frame `t` in [0, 1]."""
        planes = np.stack(cv2.split(self.frames(t)))  # whole: all that is computed with them takes half the time then
        return torch.from_numpy(planes).to(self.device).float().div_(255)

    def parts(self, t: int) -> list[Part]:
        """What each layer shows in frame `t`, cut to the rows and columns where it shows anything."""
        return [Part(self, i, layer, t) for i, layer in enumerate(self.maps.layers)]

    def each(self, function: Callable[[int], Result]) -> Iterator[Result]:
        """What `function` gives for each frame, in order; several frames are worked on at once."""
        return in_order(function, range(self.count))

    def totals(self) -> list[Tensor]:  # (4, N, N) each
        """An empty sum of colours and, last, weights for each layer's atlas."""
        sizes = [self.model.atlas(i).shape[:2] for i in range(len(self.maps.layers))]
        return [torch.zeros(4, *size, device=self.device) for size in sizes]


class Part:
    """The visible part of a layer in a frame: planes of its box."""

    def __init__(self, frames: FrameSet, index: int, layer: str, t: int) -> None:
        opacity = frames.maps.opacity(layer, t)
        box = bounding_box(opacity)
        self.box, self.empty = box or EMPTY, box is None
        if self.empty:
            return
        self.opacity = torch.from_numpy(opacity[self.box]).to(frames.device)  # (h, w)
        self.uv = torch.from_numpy(frames.maps.uv(layer, t)[self.box]).to(frames.device)  # (h, w, 2)
        self.light = light_at(frames.model, index, t, opacity.shape, self.box)  # (3, h, w)
        self.atlas = frames.model.atlas(index)  # (N, N, 3)

    @cached_property
    def colour(self) -> Tensor:  # (3, h, w)
        """What the atlas shows, without light."""
        return sample_planes(self.atlas, self.uv)

    def within(self, planes: Tensor) -> Tensor:  # (C, H, W) -> (C, h, w)
        """The part's box of a frame's planes."""
        return planes[:, self.box[0], self.box[1]]

    def splatted(self, values: Tensor, weight: Tensor) -> Splatted:
        """Values (3, h, w) of the part's pixels in its layer's atlas."""
        return splat_planes(values, self.uv, weight, (self.atlas.shape[0], self.atlas.shape[1]))


def light_at(
    model: LayeredAtlas, layer: int, t: int, size: tuple[int, ...], box: tuple[slice, slice] = WHOLE
) -> Tensor:  # (3, h, w)
    """A layer's gain at every pixel of a frame, or of a box of its rows and columns, as `Maps.light` gives it."""
    gain = model.lights[layer].log_gain[:, t].exp().cpu().numpy()
    planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)[box] for plane in gain]
    return torch.from_numpy(np.stack(planes)).to(model.atlas(layer).device)


def composite_parts(parts: list[Part], size: tuple[int, ...], device: torch.device) -> Tensor:  # (3, H, W)
    """The model's frame."""
    image = torch.zeros(3, *size, device=device)
    for part in parts:
        if not part.empty:
            part.within(image).addcmul_(part.opacity, part.light * part.colour)
    return image


def frame_psnr(predicted: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of one frame, the prediction clamped to [0, 1]."""
    error = predicted.clamp(0, 1).sub_(true).square_().mean().item()
    return 10 * float(np.log10(1 / max(error, 1e-10)))


@torch.no_grad()
def start_atlases(frames: FrameSet) -> None:
    """Set every atlas to the weighted mean of what its layer shows; unseen texels continue the seen ones."""

    def shown(t: int) -> list[Splatted | None]:
        colours, result = frames.colours(t), list[Splatted | None]()
        for part in frames.parts(t):
            if part.empty:
                result.append(None)
                continue
            # Pixels of soft edges are mixtures: a clean pixel should outweigh them by far.
            weight = part.opacity.pow(3) * part.light.mean(0)
            result.append(part.splatted(part.within(colours) / part.light, weight))
        return result

    totals = frames.totals()
    for sums in frames.each(shown):
        _add(totals, sums)

    def filled(total: Tensor) -> np.ndarray:
        mean = (total[:3] / total[3:].clamp(min=1e-6)).permute(1, 2, 0).cpu().numpy()
        return fill_unseen(mean, total[3].cpu().numpy())

    for layer, (total, atlas) in enumerate(zip(totals, in_order(filled, totals), strict=True)):
        frames.model.coverage(layer).copy_(total[3])
        frames.model.atlas(layer).copy_(torch.from_numpy(atlas))


@torch.no_grad()
def improve_atlases(frames: FrameSet, relax: float = 1.4) -> list[float]:
    """One pass of reconstruction: every texel moves by the mean left-over of its pixels. PSNR per frame, before it."""

    def left_over(t: int) -> tuple[float, list[Splatted | None]]:
        colours, parts = frames.colours(t), frames.parts(t)
        predicted = composite_parts(parts, colours.shape[1:], frames.device)
        left = colours - predicted
        sums = [None if part.empty else part.splatted(part.within(left), part.opacity * part.light.mean(0)) for part in parts]
        return frame_psnr(predicted, colours), sums

    totals, scores = frames.totals(), []
    for score, sums in frames.each(left_over):
        scores.append(score)
        _add(totals, sums)
    for layer, total in enumerate(totals):
        # A texel with little support moves little: its left-over is mostly its neighbours'.
        step = relax * total[:3] / (total[3:] + 0.05)
        frames.model.atlas(layer).add_(step.permute(1, 2, 0)).clamp_(0, 1)
    return scores


def _add(totals: list[Tensor], sums: list[Splatted | None]) -> None:
    """Add a frame's sums to the atlases', in the order of the frames: the totals are the same to the bit."""
    for total, one in zip(totals, sums, strict=True):
        if one is not None:
            (rows, columns), planes = one
            total[:, rows, columns] += planes


@torch.no_grad()
def solve_light(frames: FrameSet) -> list[float]:
    """Set each layer's light to the smooth gain that best turns its atlas into the frames. PSNR per frame, before it."""
    model = frames.model
    grid = model.shape.light_grid

    def sums_of(t: int) -> tuple[float, list[np.ndarray | None]]:
        colours, parts = frames.colours(t), frames.parts(t)
        score = frame_psnr(composite_parts(parts, colours.shape[1:], frames.device), colours)
        return score, [None if part.empty else _light_sums(part, colours, grid) for part in parts]

    sums = [np.zeros((frames.count, *grid, 7), np.float32) for _ in frames.maps.layers]
    scores = []
    for t, (score, found) in enumerate(frames.each(sums_of)):
        scores.append(score)
        for total, one in zip(sums, found, strict=True):
            if one is not None:
                total[t] = one
    for layer, total in enumerate(in_order(_smooth_sums, sums)):
        gain = (total[..., :3] + _LIGHT_PRIOR * total[..., 6:]) / (total[..., 3:6] + _LIGHT_PRIOR * total[..., 6:] + 1e-12)
        log_gain = np.log(np.clip(gain, np.exp(-LIGHT_LIMIT), np.exp(LIGHT_LIMIT)))
        model.lights[layer].log_gain.copy_(torch.from_numpy(log_gain).permute(3, 0, 1, 2))
    return scores


def _light_sums(part: Part, frame: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """frame * atlas, atlas^2 (3 each) and weight, averaged over the cells of the light's grid: (gh, gw, 7)."""
    weight = (part.opacity > 0.9).float()  # mixtures at soft edges tell nothing of the light
    weighted = weight * part.colour
    planes = torch.cat([weighted * part.within(frame), weighted * part.colour, weight[None]])
    return cell_means(planes.cpu().numpy(), part.box, (frame.shape[1], frame.shape[2]), grid)


def _smooth_sums(sums: np.ndarray) -> np.ndarray:
    """Blur (T, gh, gw, 7) over time and space; where nothing is near, ever wider neighbourhoods count."""
    radius = int(3 * LIGHT_SIGMA_TIME)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / LIGHT_SIGMA_TIME) ** 2)
    padded = np.pad(sums, ((radius, radius), (0, 0), (0, 0), (0, 0)), mode="edge")
    result = np.empty_like(sums)
    for t in range(len(sums)):
        image = np.tensordot(kernel / kernel.sum(), padded[t : t + len(kernel)], 1).astype(np.float32)
        side = np.sqrt(sums[t, ..., 6].sum()) * LIGHT_STRIDE
        total, share = np.zeros_like(image), 1.0
        sigma = float(np.clip(LIGHT_SIGMA * side, *LIGHT_SIGMA_PIXELS)) / LIGHT_STRIDE
        while sigma < 4 * max(image.shape[:2]):
            total += share * wide_blur(image, sigma)
            sigma, share = sigma * 3, share * 0.01
        result[t] = total
    return result
