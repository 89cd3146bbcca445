"""Relighting test: whether an edit takes on the layer's light, or is a map of the colours seen, light and all.

A new material is lit: where a keyframe is brighter, the edit is as much brighter. A colour map, say a curve, is given the
lit colours and answers in its own way. Keyframes that saw a texel in different light tell the two apart.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from aggregate.stack import Images

_DARK = 0.05
_SAMPLES, _FEWEST = 40_000, 100  # texels of a pair
_NOISE = 1e-4  # variance of log light that says nothing
_PLAIN = 0.1  # a curve as near to proportion as this answers light as a material does


@torch.no_grad()
def unlit_share(
    colours: Images,  # (K, H, W, 6) light removed: edited, then unedited
    lights: Images,  # (K, H, W) the light removed
    weights: Images,  # (K, H, W)
) -> float:
    """Regress the edit on light: 0 for an edit that is lit as the layer is, 1 for a map of the colours seen, else in between.

    Of the pairs' log ratios of edited colours, what goes with light (after what goes with the unedited colours), over
    what a map of the same steepness would show. 0 where no texel was seen twice or light does not differ. All pairs are
    compared; one keyframe is in memory at a time, and of each pair some pixels.
    """
    pairs = _seen_by_both(colours, weights)
    samples: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {pair: [] for pair in pairs}
    for number in range(len(colours)):
        colour, light = colours[number].reshape(-1, 6), lights[number].flatten()
        for pair, index in pairs.items():
            if number in pair:
                samples[pair].append((colour[index], light[index]))
    normal, right, apart = torch.zeros(2, 2), torch.zeros(2), torch.zeros(2)
    for both in samples.values():
        logs = torch.stack([colour for colour, _ in both]).log()
        edited, original = (logs[0] - logs[1]).reshape(-1, 2, 3).mean(-1).unbind(-1)
        light = torch.stack([light for _, light in both]).clamp(min=_DARK).log()
        light = light[0] - light[1]
        # A keyframe's own gain must not count as light: only how these vary over the layer does.
        edited, original, light = (values - values.mean() for values in (edited, original, light))
        known = torch.stack([light, original])
        normal += (known @ known.T).cpu()
        right += (known @ edited).cpu()
        new, old = logs[0].reshape(-1, 2, 3).mean(-1).unbind(-1)
        new, old = new - new.mean(), old - old.mean()
        apart += torch.stack([(new * old).sum(), (old * old).sum()]).cpu()
        normal += torch.eye(2) * (_NOISE * len(new))
    if not normal.any() or not apart[1] > 0:
        return 0.0
    response = float(torch.linalg.solve(normal, right)[0])
    expected = float(apart[0] / apart[1]) - 1
    if abs(expected) < _PLAIN:
        return 0.0
    return min(max(response / expected, 0.0), 1.0)


def _seen_by_both(colours: Images, weights: Images) -> dict[tuple[int, int], Tensor]:  # pair -> (M,) flat texels
    """Choose texels that two keyframes saw well and bright enough, for each pair that has enough of them."""
    usable = []
    for number in range(len(colours)):
        seen = (weights[number] > 0.9).flatten()
        index = torch.nonzero(seen)[:, 0]
        seen[index] = colours[number].reshape(-1, 6)[index].amin(-1) > _DARK
        usable.append(seen)
    pairs = {}
    for pair in combinations(range(len(usable)), 2):
        index = torch.nonzero(usable[pair[0]] & usable[pair[1]])[:, 0]
        index = index[:: max(1, len(index) // _SAMPLES)]
        if len(index) >= _FEWEST:
            pairs[pair] = index
    return pairs
