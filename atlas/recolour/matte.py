"""Mattes of composited keyframes: how far an edit reaches over a layer's outline, where keyframes show that.

Someone who edits inside a selection and leaves the rest of the picture as it was has decided what becomes of the outline's
pixels, which show the layer mixed with what lies behind. That is learned against the opacity and the clip's mask, and held to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

OPACITIES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.92, 1.0)
MASKS = (0.0, 0.2, 0.4, 127 / 255, 128 / 255, 0.6, 0.8, 1.0)
"""Nodes that opacity and mask are told apart by; two of the mask's lie to both sides of where a selection ends."""
_BETTER = 0.35  # what the matte leaves of the outline's edit, over what the opacity leaves: of hard edges, nothing
_NEAR_NOTHING = 0.02  # of a change: that is none


@dataclass(frozen=True)
class Matte:
    """How far pixels were changed, by the layer's opacity and the clip's mask there."""

    shares: np.ndarray
    """(len(OPACITIES), len(MASKS)) float32 in [0, 1]."""

    def at(self, opacity: Tensor, mask: Tensor) -> Tensor:  # (h, w), (h, w) in [0, 1] -> (h, w)
        """Look up how far the edit reaches; exactly 0 where the layer is not seen."""
        places = [_place(values, nodes) for values, nodes in ((mask, MASKS), (opacity, OPACITIES))]
        shares = torch.from_numpy(self.shares)[None, None].to(opacity.device)
        where = torch.stack(places, -1)[None]
        return F.grid_sample(shares, where, padding_mode="border", align_corners=True)[0, 0] * (opacity > 0)


class MatteEvidence:
    """Gathers from keyframes how far pixels on the outline were changed, and whether those beyond it were left alone."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, len(OPACITIES), len(MASKS)))
        self._beyond, self._alone = np.zeros(2), np.zeros(3)

    def add(
        self,
        change: np.ndarray,  # (M, 3) edited - unedited
        expected: np.ndarray,  # (M, 3) the same by the colour change
        opacity: np.ndarray,  # (M,)
        mask: np.ndarray,  # (M,) in [0, 1]
    ) -> None:
        """Add pixels of a keyframe: of the layer, on its outline and a little beyond."""
        products = [np.einsum("ij,ij->i", a, b) for a, b in ((change, expected), (expected, expected), (change, change))]
        self._alone += [product[opacity == 1].sum() for product in products]
        beyond = (opacity <= OPACITIES[1]) & (mask < MASKS[1])
        self._beyond += products[2][beyond].sum(), products[1][beyond].sum()
        rows, columns = (
            np.interp(values, nodes, np.arange(len(nodes))) for values, nodes in ((opacity, OPACITIES), (mask, MASKS))
        )
        place = rows.round().astype(int) * len(MASKS) + columns.round().astype(int)
        size = self._sums[0].size
        for total, values in zip(self._sums, products, strict=True):
            total += np.bincount(place, values, size).reshape(total.shape)

    def join(self, other: MatteEvidence) -> None:
        """Add what was gathered from further keyframes."""
        self._sums += other._sums
        self._beyond += other._beyond
        self._alone += other._alone

    def matte(self) -> Matte | None:
        """Learn the matte; None where the opacity is as good.

        So it is where keyframes were not composited (what lies beyond the layer was edited with it), and where they were
        composited softly, as the layer's own outline is.
        """
        changed_beyond, expected_beyond = self._beyond
        if not expected_beyond or changed_beyond > _NEAR_NOTHING * expected_beyond or not (self._alone > 0).all():
            return None
        alike, expected, edited = self._sums[:, 1:]
        scale = self._alone[0] / self._alone[1]  # what is expected where the layer is seen alone is all of the edit there
        alike, expected = scale * alike, scale**2 * expected
        little = 1e-3 * expected.sum() / expected.size + 1e-12  # evidence that is not enough alone
        by_opacity, by_mask = (alike.sum(axis, keepdims=True) / (expected.sum(axis, keepdims=True) + little) for axis in (1, 0))
        explained = [(2 * usual * alike - usual**2 * expected).sum() for usual in (by_opacity, by_mask)]
        usual = by_mask if explained[1] > explained[0] else by_opacity
        shares = np.zeros_like(self._sums[0])
        shares[1:] = ((alike + little * usual) / (expected + little)).clip(0, 1)
        outline, opacity = slice(0, -1), np.array(OPACITIES)[1:, None]
        # What the change of colours does not explain where the layer is seen alone, no matte explains on its outline.
        explicable = self._alone[0] ** 2 / (self._alone[1] * self._alone[2]) * edited
        missed = [(explicable + share**2 * expected - 2 * share * alike)[outline].sum() for share in (shares[1:], opacity)]
        if not missed[0] < _BETTER * missed[1]:
            return None
        shares[shares < _NEAR_NOTHING] = 0
        shares[shares > 1 - _NEAR_NOTHING] = 1
        shares[0] = np.where(np.array(MASKS) > 0.5, shares[1], 0)  # the layer's rim fades out with the edit's matte, if at all
        return Matte(shares.astype(np.float32))


def _place(values: Tensor, nodes: tuple[float, ...]) -> Tensor:
    """Find where values lie between the nodes, from -1 to 1 as grid_sample counts."""
    at = torch.tensor(nodes, device=values.device)
    values = values.clamp(0, 1).contiguous()
    above = torch.bucketize(values, at[1:-1], right=True)
    low, high = at[above], at[above + 1]
    return (above + (values - low) / (high - low)) * (2 / (len(nodes) - 1)) - 1
