"""Relighting test: whether an edit takes on the layer's light, or is a map of the colours seen, light and all.

A new material is lit: where a keyframe is brighter, the edit is as much brighter. A colour map, say a curve, is given the
lit colours and answers in its own way. Keyframes that saw a texel in different light tell the two apart.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch

from aggregate.stack import Images

_DARK = 0.05
_SAMPLES = 40_000
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
    compared, two keyframes in memory at a time.
    """
    normal, right, apart = torch.zeros(2, 2), torch.zeros(2), torch.zeros(2)
    read = lru_cache(2)(lambda number: (colours[number], lights[number], weights[number]))
    for k, m in combinations(range(len(colours)), 2):
        pair, light_pair, seen = zip(read(k), read(m), strict=True)
        both = (torch.minimum(*seen) > 0.9) & (torch.minimum(*pair).amin(-1) > _DARK)
        index = torch.nonzero(both.flatten())[:, 0]
        index = index[:: max(1, len(index) // _SAMPLES)]
        if len(index) < 100:
            continue
        logs = torch.stack([image.reshape(-1, 6)[index] for image in pair]).log()
        edited, original = (logs[0] - logs[1]).reshape(-1, 2, 3).mean(-1).unbind(-1)
        light = torch.stack([image.flatten()[index] for image in light_pair]).clamp(min=_DARK).log()
        light = light[0] - light[1]
        # A keyframe's own gain must not count as light: only how these vary over the layer does.
        edited, original, light = (values - values.mean() for values in (edited, original, light))
        known = torch.stack([light, original])
        normal += (known @ known.T).cpu()
        right += (known @ edited).cpu()
        new, old = logs[0].reshape(-1, 2, 3).mean(-1).unbind(-1)
        new, old = new - new.mean(), old - old.mean()
        apart += torch.stack([(new * old).sum(), (old * old).sum()]).cpu()
        normal += torch.eye(2) * (_NOISE * len(index))
    if not normal.any() or not apart[1] > 0:
        return 0.0
    response = float(torch.linalg.solve(normal, right)[0])
    expected = float(apart[0] / apart[1]) - 1
    if abs(expected) < _PLAIN:
        return 0.0
    return min(max(response / expected, 0.0), 1.0)
