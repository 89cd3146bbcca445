"""Gradient descent (Adam): mappings and opacities follow the frames, the flow and the masks; atlases and light stand still."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.fitting.data import Batch, FitData
from atlas.fitting.presets import FitConfig
from atlas.masks.depth import EDGE
from atlas.model import losses
from atlas.model.layered import LayeredAtlas, View

GRID_RATE = 5.0
"""Learning rate of hash grids against the networks': an entry is touched by few of a step's samples."""


@dataclass
class Refiner:
    """Takes a model through gradient steps of Adam. `total` steps in all set the learning rate's course."""

    model: LayeredAtlas
    config: FitConfig
    total: int

    def __post_init__(self) -> None:
        named = list(self.model.named_parameters())
        grids = [p for name, p in named if name.endswith(".grid.params")]
        networks = [p for name, p in named if not name.endswith((".offset", ".grid.params"))]
        offsets = [mapping.offset for mapping in self.model.mappings]
        groups: list[dict[str, Any]] = [{"params": networks, "lr": self.config.learning_rate}]
        if grids:
            groups.append({"params": grids, "lr": self.config.learning_rate * GRID_RATE})
        if self.config.offset_learning_rate > 0:
            groups.append({"params": offsets, "lr": self.config.offset_learning_rate})
        fused = offsets[0].device.type != "mps"  # which older versions of torch have no fused Adam for
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=fused)
        self.rates = [group["lr"] for group in groups]

    def step(self, data: FitData, index: int, device: torch.device) -> float:
        """Gradient step number `index`; its batch depends on seed and number alone. Returns the loss.

        Raises UserError, before anything is changed, where the loss is not a number.
        """
        loss = self._loss(data, index, device)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(index / max(self.total, 1), 1))))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    @torch.no_grad()
    def check(self, data: FitData, index: int, device: torch.device) -> None:
        """UserError where step `index` would find no number: a state that the step before ruined must not be kept."""
        self._loss(data, index, device)

    def _loss(self, data: FitData, index: int, device: torch.device) -> Tensor:
        rng = np.random.default_rng([self.config.seed, index])
        batch = data.batch(self.config.patches, self._patch_size(data), rng, device)
        loss = fit_loss(self.model, batch, self.config)
        if not math.isfinite(loss.item()):
            raise UserError(
                f"the fit of {data.clip.folder} turned to NaN at iteration {index}: the last good checkpoint is kept; "
                "try another --seed or --preset preview"
            )
        return loss

    def _patch_size(self, data: FitData) -> int:
        return min(self.config.patch_size, data.clip.height, data.clip.width)

    def samples(self, data: FitData) -> int:
        """Pixels of a step."""
        return self.config.patches * self._patch_size(data) ** 2

    def seconds_per_step(self, data: FitData, device: torch.device) -> float:
        """About what a step takes, found by going through one and leaving the model as it is."""
        began = 0.0
        for _ in range(2):  # the first also pays for what is set up once
            began = time.perf_counter()
            self._loss(data, 0, device).backward()
            self.optimiser.zero_grad(set_to_none=True)
        return time.perf_counter() - began


def fit_loss(model: LayeredAtlas, batch: Batch, config: FitConfig) -> Tensor:
    """The weighted sum of all losses on one batch."""
    weights = config.losses
    view = model(batch.xyt, batch.depth)
    patches, size = batch.colour.shape[:2]
    colour = view.colour.reshape(patches, size, size, 3)
    loss = weights.reconstruction * losses.reconstruction(colour, batch.colour)
    loss = loss + weights.gradient * losses.gradient(colour, batch.colour)
    loss = loss + weights.mask * losses.mask_entropy(view.object_opacity, torch.sigmoid(batch.depth * EDGE))
    loss = loss + weights.rigidity * _rigidity(model, view, patches, size)
    if weights.sparsity:
        objects = len(model.opacities)
        loss = loss + weights.sparsity * losses.sparsity(view.object_opacity, view.layer_colour[:objects])
    return loss + _along_flow(model, view, batch, config)


def _rigidity(model: LayeredAtlas, view: View, patches: int, size: int) -> Tensor:
    total = view.uv.new_zeros(())
    for layer, uv in enumerate(view.uv):
        texels = model.atlas(layer).shape[0] / 2
        seen = view.opacity[layer].detach().reshape(patches, size, size)
        total = total + losses.rigidity(uv.reshape(patches, size, size, 2), texels, seen)
    return total


def _along_flow(model: LayeredAtlas, view: View, batch: Batch, config: FitConfig) -> Tensor:
    chosen, valid = batch.moved_index, batch.moved_valid
    moved_uv = torch.stack([mapping(batch.moved) for mapping in model.mappings])
    texels = moved_uv.new_tensor([model.atlas(layer).shape[0] / 2 for layer in range(len(moved_uv))])
    uv, opacity, own = view.uv[:, chosen], view.opacity[:, chosen].detach(), view.object_opacity[:, chosen]
    moved_own = torch.stack([f(batch.moved, d) for f, d in zip(model.opacities, batch.moved_depth, strict=True)])
    weights = config.losses
    return weights.flow * losses.flow_agreement(
        uv, moved_uv, opacity, valid, texels
    ) + weights.opacity_flow * losses.opacity_agreement(own, moved_own, valid)
