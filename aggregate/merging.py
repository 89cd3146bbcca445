"""Merge partial atlases into the edited atlas and the reference: matched to each other, then averaged or learned."""

from __future__ import annotations

import torch
from torch import Tensor

from aggregate.averages import merged_coverage, weighted_mean, weighted_median
from aggregate.match import Matched, match
from aggregate.network import Training, refine
from aggregate.windows import View
from atlas.maps.partial import Partial


def merge(
    partials: list[Partial],  # colour (H, W, 6): edited, then unedited
    views: list[View],
    method: str,
    training: Training | None = None,
    *,
    match_gain: bool = True,
    match_shift: bool = True,
    seed: int = 0,
    quiet: bool = True,
) -> tuple[Tensor, Tensor]:  # edited (H, W, 3), reference (H, W, 3)
    """Merge partial atlases: the edited and the unedited channels are matched and merged alike.

    Each is matched for itself, because an edit may have other disagreements than the frames; where nothing was edited
    both are the same numbers and stay so.
    """
    colours, weights = torch.stack([p.colour for p in partials]), torch.stack([p.weight for p in partials])
    if len(partials) > 1 and (match_gain or match_shift):
        both = [match(part, weights, gains=match_gain, shifts=match_shift) for part in colours.split(3, dim=-1)]
        colours = torch.cat([matched.colours for matched in both], -1)
        views = [_matched_view(view, number, *both) for number, view in enumerate(views)]
    if method == "network":
        coverage = merged_coverage(torch.stack([p.coverage for p in partials]))
        refined = refine(colours, weights, coverage, views, seed=seed, training=training, quiet=quiet)
        edited, reference = refined.edited, refined.reference
    else:
        merged = weighted_median(colours, weights) if method == "median" else weighted_mean(colours, weights)
        edited, reference = merged.split(3, dim=-1)
    # Equal up to rounding is equal: what was not edited must leave no difference.
    return torch.where((edited - reference).abs() < 1e-5, reference, edited), reference


def _matched_view(view: View, number: int, edited: Matched, original: Matched) -> View:
    return View(
        edited.moved(number, view.uv),
        view.edited * edited.gains[number],
        view.original * original.gains[number],
        view.weight,
        original.moved(number, view.uv),
    )
