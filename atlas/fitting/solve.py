"""Closed-form passes over a whole clip: least-squares atlases and light, given the maps.

A pass reads every frame once, composites the layers and looks at what is left over. Atlases take the
left-over by simultaneous iterative reconstruction (each texel moves by the mean left-over of the pixels
that see it), which converges to the least-squares atlas; light takes it as a smooth gain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.geometry.boxes import EMPTY, bounding_box
from atlas.geometry.filling import fill_unseen, shrink, wide_blur
from atlas.geometry.warp import sample, splat_into
from atlas.maps.maps import Maps
from atlas.model.layered import LayeredAtlas

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

    def colours(self, t: int) -> Tensor:  # (H, W, 3)
        """Frame `t` in [0, 1]."""
        return torch.from_numpy(np.array(self.frames(t))).to(self.device).float() / 255

    def parts(self, t: int) -> list[Part]:
        """What each layer shows in frame `t`, cut to the rows and columns where it shows anything."""
        return [Part(self, i, layer, t) for i, layer in enumerate(self.maps.layers)]


class Part:
    """The visible part of a layer in a frame."""

    def __init__(self, frames: FrameSet, index: int, layer: str, t: int) -> None:
        opacity = frames.maps.opacity(layer, t)
        box = bounding_box(opacity)
        self.box, self.empty = box or EMPTY, box is None
        if self.empty:
            return
        self.opacity = torch.from_numpy(opacity[self.box]).to(frames.device)
        self.uv = torch.from_numpy(frames.maps.uv(layer, t)[self.box]).to(frames.device)
        self.light = light_at(frames.model, index, t, opacity.shape)[self.box]
        self.colour = sample(frames.model.atlas(index), self.uv)


def light_at(model: LayeredAtlas, layer: int, t: int, size: tuple[int, ...]) -> Tensor:  # (H, W, 3)
    """A layer's gain at every pixel of a frame."""
    log_gain = model.lights[layer].log_gain[:, t]
    return F.interpolate(log_gain[None], size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).exp()


def composite_parts(parts: list[Part], size: tuple[int, ...], device: torch.device) -> Tensor:  # (H, W, 3)
    """The model's frame."""
    image = torch.zeros(*size, 3, device=device)
    for part in parts:
        if not part.empty:
            image[part.box] += part.opacity[..., None] * part.light * part.colour
    return image


def frame_psnr(predicted: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of one frame, the prediction clamped to [0, 1]."""
    error = (predicted.clamp(0, 1) - true).square().mean().item()
    return 10 * float(np.log10(1 / max(error, 1e-10)))


@torch.no_grad()
def start_atlases(frames: FrameSet) -> None:
    """Set every atlas to the weighted mean of what its layer shows; unseen texels continue the seen ones."""
    totals = [torch.zeros(*frames.model.atlas(i).shape[:2], 4, device=frames.device) for i in range(len(frames.maps.layers))]
    for t in range(frames.count):
        colours = frames.colours(t)
        for total, part in zip(totals, frames.parts(t), strict=True):
            if not part.empty:
                # Pixels of soft edges are mixtures: a clean pixel should outweigh them by far.
                weight = part.opacity.pow(3) * part.light.mean(-1)
                splat_into(total, colours[part.box] / part.light, part.uv, weight)
    for layer, total in enumerate(totals):
        frames.model.coverage(layer).copy_(total[..., 3])
        seen = total[..., 3:]
        filled = fill_unseen((total[..., :3] / seen.clamp(min=1e-6)).cpu().numpy(), seen[..., 0].cpu().numpy())
        frames.model.atlas(layer).copy_(torch.from_numpy(filled))


@torch.no_grad()
def improve_atlases(frames: FrameSet, relax: float = 1.4) -> list[float]:
    """One pass of reconstruction: every texel moves by the mean left-over of its pixels. PSNR per frame, before it."""
    model = frames.model
    totals = [torch.zeros(*model.atlas(i).shape[:2], 4, device=frames.device) for i in range(len(frames.maps.layers))]
    scores = []
    for t in range(frames.count):
        colours, parts = frames.colours(t), frames.parts(t)
        predicted = composite_parts(parts, colours.shape[:2], frames.device)
        scores.append(frame_psnr(predicted, colours))
        left_over = colours - predicted
        for total, part in zip(totals, parts, strict=True):
            if not part.empty:
                weight = part.opacity * part.light.mean(-1)
                splat_into(total, left_over[part.box], part.uv, weight)
    for layer, total in enumerate(totals):
        # A texel with little support moves little: its left-over is mostly its neighbours'.
        step = relax * total[..., :3] / (total[..., 3:] + 0.05)
        model.atlas(layer).add_(step).clamp_(0, 1)
    return scores


@torch.no_grad()
def solve_light(frames: FrameSet) -> list[float]:
    """Set each layer's light to the smooth gain that best turns its atlas into the frames. PSNR per frame, before it."""
    model = frames.model
    grid = model.shape.light_grid
    sums = [np.zeros((frames.count, *grid, 7), np.float32) for _ in frames.maps.layers]
    scores = []
    for t in range(frames.count):
        colours, parts = frames.colours(t), frames.parts(t)
        predicted = composite_parts(parts, colours.shape[:2], frames.device)
        scores.append(frame_psnr(predicted, colours))
        for total, part in zip(sums, parts, strict=True):
            if not part.empty:
                total[t] = _light_sums(part, colours[part.box], grid, colours.shape[:2])
    for layer, total in enumerate(sums):
        total = _smooth_sums(total)
        gain = (total[..., :3] + _LIGHT_PRIOR * total[..., 6:]) / (total[..., 3:6] + _LIGHT_PRIOR * total[..., 6:] + 1e-12)
        log_gain = np.log(np.clip(gain, np.exp(-LIGHT_LIMIT), np.exp(LIGHT_LIMIT)))
        model.lights[layer].log_gain.copy_(torch.from_numpy(log_gain).permute(3, 0, 1, 2))
    return scores


def _light_sums(part: Part, colours: Tensor, grid: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """frame * atlas, atlas^2 (3 each) and weight, averaged over the cells of the light's grid: (gh, gw, 7)."""
    weight = (part.opacity > 0.9).float()[..., None]  # mixtures at soft edges tell nothing of the light
    stacked = torch.cat([weight * colours * part.colour, weight * part.colour.square(), weight], -1)
    whole = np.zeros((*size, 7), np.float32)
    whole[part.box] = stacked.cpu().numpy()
    return shrink(whole, grid)


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
