"""Merge partial atlases into the edited atlas and the reference: matched to each other, then averaged or learned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from aggregate.averages import weighted_mean, weighted_median
from aggregate.match import Matched, match
from aggregate.network import Training, refine
from aggregate.partials import Partials
from aggregate.windows import View
from atlas.storage.images import to_uint16
from atlas.system.parallel import in_order


def merge(
    partials: Partials,
    views: Mapping[int, View],  # by the number of its partial atlas: of a few, all; of many, those that are learned from
    method: str,
    training: Training | None = None,
    *,
    match_gain: bool = True,
    match_shift: bool = True,
    seed: int = 0,
    quiet: bool = True,
) -> tuple[Tensor, Tensor]:  # edited (H, W, 3), reference (H, W, 3)
    """Merge partial atlases: the edited and the unedited channels are matched, in place, and merged alike.

    Each is matched for itself, because an edit may have other disagreements than the frames; where nothing was edited
    both are the same numbers and stay so.
    """
    colours, weights = partials.colours, partials.weights
    if len(weights) > 1 and (match_gain or match_shift):
        how = partial(match, weights=partials.known, texels=partials.reduction, gains=match_gain, shifts=match_shift)
        sides = ((partials.edited, quiet), (partials.original, True))  # one bar for both
        edited, original = in_order(lambda one: how(one[0], quiet=one[1]), sides, 2)

        def matched(number: int) -> Tensor:
            parts = zip((edited, original), colours[number].split(3, dim=-1), strict=True)
            return torch.cat([one.applied(number, part) for one, part in parts], -1)

        for number, image in enumerate(in_order(matched, range(len(weights)), 2)):
            colours[number] = image
        size = (weights.shape[1], weights.shape[2])
        views = {number: _matched_view(view, number, edited, original, size) for number, view in views.items()}
    if method == "network":
        refined = refine(colours, weights, partials.coverage, views, seed=seed, training=training, quiet=quiet)
        merged, reference = refined.edited, refined.reference
    else:
        both = weighted_median(colours, weights) if method == "median" else weighted_mean(colours, weights)
        merged, reference = both.split(3, dim=-1)
    # Equal up to rounding is equal: what was not edited must leave no difference.
    return torch.where((merged - reference).abs() < 1e-5, reference, merged), reference


def rgba(colour: Tensor, alpha: Tensor) -> Tensor:  # (H, W, 3), (H, W) -> (H, W, 4)
    """Join colours and alpha, clipped to [0, 1]."""
    return torch.cat([colour, alpha[..., None]], -1).clamp(0, 1)


def writable(edited: Tensor, reference: Tensor, coverage: Tensor) -> list[np.ndarray]:
    """Convert both atlases to (H, W, 4) uint16. Light-free colours may leave [0, 1]: then both are moved alike, because
    what counts is their difference."""
    too_high = (torch.maximum(edited, reference) - 1).clamp(min=0)
    too_low = torch.minimum(edited, reference).clamp(max=0)
    move = too_high + too_low
    return [to_uint16(rgba(image - move, coverage).cpu().numpy()) for image in (edited, reference)]


def _matched_view(view: View, number: int, edited: Matched, original: Matched, size: tuple[int, int]) -> View:
    return View(
        edited.moved(number, view.uv, size),
        view.edited * edited.gains[number],
        view.original * original.gains[number],
        view.weight,
        original.moved(number, view.uv, size),
    )
