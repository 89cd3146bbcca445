"""What a finished Layered Neural Atlases model leaves in the folder of a fit: maps, and its atlases as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.clip.clip import Clip
from atlas.geometry.boxes import bounding_box
from atlas.geometry.filling import fill_unseen
from atlas.geometry.warp import splat_into
from atlas.maps.maps import Maps, MapsWriter, write_atlas
from atlas.model.nla import NlaModel
from atlas.system.progress import Progress

SIZES = (1000, 1400, 2000, 2800, 4000)
"""Texels along an atlas's side: from what its authors edit on to the largest that is practical."""
CLOSE = 0.25 / 255
"""How near looking up an atlas image should come to asking the network, at 19 of 20 visible pixels.

With 8-bit rounding that is 1/255 for networks that are busy everywhere, as random ones are. Trained ones are busy at few
edges, which are off by more, and would ask for atlases that are slow to edit.
"""
_PROBES = 4000
_ROUGH = 500  # texels along a side of what unseen texels are filled from


def write_nla_maps(model: NlaModel, clip: Clip, folder: Path, *, stride: int = 1, quiet: bool = True) -> None:
    """Evaluate mappings and opacity in every frame and write them below `folder`; stride: at every so many pixels only."""
    device = model.alpha.hidden[0].weight.device
    with MapsWriter(folder, clip.layers, clip.frames, clip.height, clip.width) as writer:
        size = (-(-clip.height // stride), -(-clip.width // stride))
        for t in Progress(range(clip.frames), desc="maps", unit="frame", quiet=quiet, leave=False):
            uv, opacity = model.frame_maps(t, torch.empty(1, *size, device=device))
            if stride > 1:
                uv = F.interpolate(uv.permute(0, 3, 1, 2), (clip.height, clip.width), mode="bilinear").permute(0, 2, 3, 1)
                opacity = F.interpolate(opacity[None], (clip.height, clip.width), mode="bilinear")[0]
            arrays = ([part.cpu().numpy() for part in parts] for parts in (uv, opacity))
            writer.append_frame(*(dict(zip(clip.layers, parts, strict=True)) for parts in arrays))


def write_nla_atlases(model: NlaModel, maps: Maps, folder: Path, seed: int, sizes: Sequence[int] = SIZES) -> None:
    """Write each layer's own square as atlas.png below `folder`; alpha = where any frame shows it.

    Of `sizes`, ascending, the first is taken that gives the network's colours to `CLOSE` at random visible pixels.
    """
    for layer, name in enumerate(maps.layers):
        size = _size(model, maps, layer, seed, sizes) if len(sizes) > 1 else sizes[0]
        seen = _seen(maps, name, size)
        colour = _seen_texels(model, layer, seen)
        write_atlas(folder, name, torch.cat([colour, (seen * 2).clamp(max=1)[..., None]], -1).numpy())


def _size(model: NlaModel, maps: Maps, layer: int, seed: int, sizes: Sequence[int]) -> int:
    rng = np.random.default_rng([seed, layer])
    device = model.alpha.hidden[0].weight.device
    name, visible = maps.layers[layer], []
    for t in rng.permutation(maps.frames)[:20]:
        rows, columns = np.nonzero(maps.opacity(name, int(t)))
        if len(rows):
            chosen = rng.integers(0, len(rows), _PROBES // 20)
            visible.append(maps.uv(name, int(t))[rows[chosen], columns[chosen]])
    if not visible:
        return sizes[0]
    uv = torch.from_numpy(np.concatenate(visible)).to(device)
    true = model.colours(layer, uv)
    for size in sizes:
        place = (uv + 1) * (size / 2) - 0.5
        share = place - place.floor()
        looked_up = torch.zeros_like(true)
        for right in (0, 1):
            for below in (0, 1):
                texel = (place.floor() + place.new_tensor([right, below])).clamp(0, size - 1)
                weight = (share[:, 0] if right else 1 - share[:, 0]) * (share[:, 1] if below else 1 - share[:, 1])
                looked_up += weight[:, None] * model.colours(layer, (texel + 0.5) * (2 / size) - 1)
        if (looked_up - true).abs().amax(1).quantile(0.95).item() / 2 <= CLOSE:  # `_sharpened` halves it
            return size
    return sizes[-1]


def _seen(maps: Maps, name: str, size: int) -> Tensor:  # (N, N)
    """How often a layer's texels are seen, in pixels; counted on a grid as wide as the pixels, so as to have no holes."""
    steps = []
    for t in np.linspace(0, maps.frames - 1, 8).astype(int):
        uv, visible = maps.uv(name, int(t)), maps.opacity(name, int(t)) > 0
        across = np.linalg.norm(uv[:, 1:] - uv[:, :-1], axis=-1)[visible[:, 1:] & visible[:, :-1]]
        down = np.linalg.norm(uv[1:] - uv[:-1], axis=-1)[visible[1:] & visible[:-1]]
        steps.append(np.concatenate([across, down]))
    spacing = np.concatenate(steps)
    step = float(np.quantile(spacing, 0.9)) if len(spacing) else 0.0
    coarse = min(max(math.ceil(2 / max(step, 2 / size)), 16), size)
    total = torch.zeros(coarse, coarse, 2)
    for t in range(maps.frames):
        opacity = torch.from_numpy(maps.opacity(name, t))
        splat_into(total, torch.zeros(*opacity.shape, 1), torch.from_numpy(maps.uv(name, t)), opacity)
    return F.interpolate(total[None, None, ..., 1], (size, size), mode="bilinear", align_corners=False)[0, 0]


def _seen_texels(model: NlaModel, layer: int, seen: Tensor) -> Tensor:  # (N, N) -> (N, N, 3)
    """The network's colours at the texels that count, on the CPU; those around them continued, blurred, over the rest."""
    size = len(seen)
    image, wanted = torch.zeros(size, size, 3), torch.zeros(size, size)
    box = bounding_box(seen > 0, 3)
    if box is None:
        return image
    wanted[box] = F.max_pool2d((seen[box] > 0).float()[None, None], 5, 1, 2)[0, 0]
    rows, columns = wanted.nonzero(as_tuple=True)
    uv = (torch.stack([columns, rows], -1) + 0.5) * (2 / size) - 1
    image[rows, columns] = model.colours(layer, uv.to(model.alpha.hidden[0].weight.device)).cpu()
    both = torch.cat([image, wanted[..., None]], -1).permute(2, 0, 1)[None]
    coarse = F.interpolate(both, (min(size, _ROUGH),) * 2, mode="area")[0].permute(1, 2, 0).numpy()
    filled = torch.from_numpy(fill_unseen(coarse[..., :3] / np.maximum(coarse[..., 3:], 1e-6), coarse[..., 3]))
    rough = F.interpolate(filled.permute(2, 0, 1)[None], (size, size), mode="bilinear")[0].permute(1, 2, 0).contiguous()
    rough[box] = _sharpened(torch.where(wanted[box][..., None] > 0, image[box], rough[box]))
    return rough.clamp(0, 1)


def _sharpened(image: Tensor) -> Tensor:  # (N, N, 3)
    """Colours raised by what looking up between them loses: the largest error of a bilinear look-up is halved.

    Between two samples at distance h it errs by h^2 f'' / 8, and by nothing at a sample: h^2 f'' / 16 less everywhere
    makes that as much too high at one as too low at the other.
    """
    padded = F.pad(image.permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")[0].permute(1, 2, 0)
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return image - (around - 4 * image) / 16
