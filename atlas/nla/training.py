"""What the published Layered Neural Atlases are trained on: random pixels, and the published loss, term for term.

Where the published training is peculiar it is followed: pixels of the last row and column have a true difference of 0;
the flow loss also moves the opacity; rigidity is taken backwards. Not followed: portrait frames, whose differences it
normalises by the shorter side. All evaluations of one network are made in one call, which changes no value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.clip.flow import WAYS, flow_validity
from atlas.model import losses
from atlas.model.nla import BACKGROUND, FOREGROUND, NlaModel
from atlas.model.nla_config import NlaConfig
from atlas.storage.arrays import StoredArray, growing_arrays
from atlas.system.progress import Progress


@dataclass
class PixelBatch:
    """Random pixels of all frames."""

    x: Tensor  # (N,) columns
    y: Tensor  # (N,) rows
    t: Tensor  # (N,) frame numbers
    colour: Tensor  # (N, 3)
    right: Tensor  # (N, 3): the true colour of the next column less this one's, 0 in the last column
    below: Tensor  # (N, 3)
    mask: Tensor  # (N,)
    moved: list[Tensor]  # forward and backward: (M, 3) columns, rows and frames where the flow takes pixels
    chosen: list[Tensor]  # forward and backward: (M,), which of the N these are


class PixelData:
    """A clip's frames, masks and flow as flat files; every pixel is as likely as every other."""

    def __init__(self, clip: Clip, folder: Path) -> None:
        self.clip = clip
        self.colours, self.masks, *valid = (
            StoredArray(folder / f"{name}.npy") for name in ("frames", "masks", *(f"{way}_valid" for way in WAYS))
        )
        self.flows = [(clip.flow(way), there) for way, there in zip(WAYS, valid, strict=True)]

    @staticmethod
    def write(clip: Clip, folder: Path, *, quiet: bool) -> None:
        """Decode the clip's frames and masks into `folder`; flow is valid where it meets its way back, as published."""
        shape = (clip.frames, clip.height, clip.width)
        files: list[tuple[Path, type, tuple[int, ...]]] = [(folder / "frames.npy", np.uint8, (*shape, 3))]
        files.append((folder / "masks.npy", np.uint8, shape))
        files += [(folder / f"{way}_valid.npy", np.uint8, (clip.frames - 1, *shape[1:])) for way in WAYS]
        there, back = (clip.flow(way) for way in WAYS)
        with growing_arrays(*files) as (frames, masks, *valid):
            for t in Progress(range(clip.frames), desc="read", unit="frame", quiet=quiet, leave=False):
                frames.append(clip.frame(t))
                masks.append(clip.mask(clip.objects[0], t))
                if t + 1 < clip.frames:
                    valid[0].append(flow_validity(there[t], back[t]))
                    valid[1].append(flow_validity(back[t], there[t]))

    def batch(self, count: int, rng: np.random.Generator, device: torch.device) -> PixelBatch:
        """`count` random pixels with all that the loss compares them with."""
        clip = self.clip
        t, y, x = (rng.integers(0, end, count) for end in (clip.frames, clip.height, clip.width))
        right, below = np.minimum(x + 1, clip.width - 1), np.minimum(y + 1, clip.height - 1)

        def pick(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        places = ((y, x), (y, right), (below, x))
        colour, to_right, to_below = (self.colours[t, j, i].astype(np.float32) / 255 for j, i in places)
        moved, chosen = [], []
        for step, (flow, valid) in zip((1, -1), self.flows, strict=True):
            pair = t if step == 1 else t - 1
            there = (pair >= 0) & (pair < clip.frames - 1)
            there[there] = valid[pair[there], y[there], x[there]] > 0
            index = np.flatnonzero(there)
            vector = flow[pair[index], y[index], x[index]].astype(np.float32)
            moved.append(pick(np.stack([x[index] + vector[:, 0], y[index] + vector[:, 1], t[index] + step], -1)))
            chosen.append(torch.from_numpy(index).to(device))
        return PixelBatch(
            x=pick(x),
            y=pick(y),
            t=pick(t),
            colour=pick(colour),
            right=pick(to_right - colour),
            below=pick(to_below - colour),
            mask=pick(self.masks[t, y, x] / 255),
            moved=moved,
            chosen=chosen,
        )


def pretraining_loss(model: NlaModel, layer: int, frame: int, rng: np.random.Generator, device: torch.device) -> Tensor:
    """Mean distance of a mapping from scale * (x, y) at random pixels of one frame."""
    config = model.config
    pixels = [rng.integers(0, end, config.samples_batch) for end in (config.resx, config.resy)]
    x, y = (torch.from_numpy(place.astype(np.float32)).to(device) for place in pixels)
    xyt = model.normalised(x, y, torch.full_like(x, float(frame)))
    return (xyt[:, :2] * config.uv_mapping_scale - model.mapping(layer)(xyt)).norm(dim=1).mean()


def nla_loss(model: NlaModel, batch: PixelBatch, iteration: int) -> Tensor:
    """The published loss of one batch in iteration number `iteration`, on which the bootstraps depend."""
    config = model.config
    x, y, t = batch.x, batch.y, batch.t
    count = len(x)
    seen = [model.normalised(*shifted) for shifted in ((x, y, t), (x + 1, y, t), (x, y + 1, t))]
    moved = [model.normalised(*points.unbind(-1)) for points in batch.moved]
    pieces = [count] * 3 + [len(points) for points in moved]

    alpha, *elsewhere = model.opacity(torch.cat([*seen, *moved])).split(pieces)
    moved_alpha = elsewhere[2:]
    spans = _spans(config, iteration)
    uv, moved_uv, rigid = [], [], x.new_zeros(())
    for layer in (FOREGROUND, BACKGROUND):
        shifts = [model.normalised(*shifted) for d, _ in spans[layer] for shifted in ((x - d, y, t), (x, y - d, t))]
        places = model.mapping(layer)(torch.cat([*seen, *moved, *shifts])).split([*pieces, *[count] * len(shifts)])
        uv.append(places[:3])
        moved_uv.append(places[3:5])
        for (span, weight), left, above in zip(spans[layer], places[5::2], places[6::2], strict=True):
            rigid = rigid + weight * _rigidity(config, span, places[0], left, above)

    layers = [model.colour(layer, torch.cat(uv[layer])) for layer in (FOREGROUND, BACKGROUND)]
    share = torch.cat([alpha, *elsewhere[:2]])[:, None]
    colour, to_right, to_below = (layers[FOREGROUND] * share + layers[BACKGROUND] * (1 - share)).split(count)

    loss = rigid + config.rgb_coeff * losses.reconstruction(colour, batch.colour)
    for shifted, true in ((to_right, batch.right), (to_below, batch.below)):
        loss = loss + config.gradient_loss_coeff * losses.reconstruction(shifted - colour, true)
    loss = loss + config.sparsity_coeff * losses.sparsity(alpha[None], layers[FOREGROUND][:count][None])
    if iteration <= config.stop_bootstrapping_iteration:
        loss = loss + config.alpha_bootstrapping_factor * losses.mask_entropy(alpha[None], batch.mask[None])
    opacity = torch.stack([alpha, 1 - alpha])
    pixels = alpha.new_full((2,), max(config.resx, config.resy) / (2 * config.uv_mapping_scale))
    for way, chosen in enumerate(batch.chosen):
        valid = torch.ones_like(moved_alpha[way])
        start, end = (torch.stack(pair) for pair in ([part[0][chosen] for part in uv], [part[way] for part in moved_uv]))
        flow = losses.flow_agreement(start, end, opacity[:, chosen], valid, pixels)
        change = losses.opacity_agreement(alpha[chosen][None], moved_alpha[way][None], valid)
        loss = loss + 0.5 * (config.optical_flow_coeff * flow + config.alpha_flow_factor * change)
    return loss


def _spans(config: NlaConfig, iteration: int) -> list[list[tuple[int, float]]]:
    """For each layer, the pixels over which rigidity is taken, and its weight there."""
    spans = [[(config.derivative_amount, config.rigidity_coeff)] for _ in (FOREGROUND, BACKGROUND)]
    if iteration <= config.stop_global_rigidity:
        spans[FOREGROUND].append((config.global_rigidity_derivative_amount_fg, config.global_rigidity_coeff_fg))
        spans[BACKGROUND].append((config.global_rigidity_derivative_amount_bg, config.global_rigidity_coeff_bg))
    return spans


def _rigidity(config: NlaConfig, span: int, uv: Tensor, left: Tensor, above: Tensor) -> Tensor:
    """`losses.rigidity` of backward differences: each pixel and its two neighbours are a patch (the sign does not count)."""
    patch = torch.stack([torch.stack([uv, left], 1), torch.stack([above, uv], 1)], 1)  # (N, 2, 2, 2)
    texels = max(config.resx, config.resy) / 2 / config.uv_mapping_scale / span
    return losses.rigidity(patch, texels, torch.ones_like(patch[..., 0]))
