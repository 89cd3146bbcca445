"""How far an edit by keyframes reaches: what of its layer a keyframe saw, what follows the colour change alone, what stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from atlas.geometry.warp import sample
from atlas.maps.coverage import SEEN, VISIBLE, shares_of_kinds
from atlas.maps.maps import Maps
from atlas.recolour.change import ColourChange
from atlas.video.sheet import contact_sheet, thumbnail

SEEN_BY_A_KEYFRAME, FOLLOWS, STAYS = 1, 2, 3
MEANINGS = {
    SEEN_BY_A_KEYFRAME: "seen by a keyframe",
    FOLLOWS: "follow the change of colours alone",
    STAYS: "stay as they were",
}
_TINTS = {SEEN_BY_A_KEYFRAME: (70, 140, 190), FOLLOWS: (225, 170, 60), STAYS: (190, 70, 110)}  # RGB
_STRENGTH = 0.5  # of a tint over the grey picture
_ELSEWHERE = 0.35  # brightness of what shows other layers
_LEAST = 0.0005  # share that is worth a word
_GROUND, _INK, _LINE = 24, (220, 220, 220), 22  # of the contact sheet's labels; pixels of the legend's line


@dataclass(frozen=True)
class Reach:
    """What becomes of each texel of a layer, and so of each of its pixels in any frame."""

    maps: Maps
    layer: str
    kinds: np.ndarray
    """(N, N) uint8 over the atlas: `SEEN_BY_A_KEYFRAME`, `FOLLOWS` or `STAYS`."""

    @classmethod
    def of(
        cls,
        maps: Maps,
        layer: str,
        coverage: np.ndarray,  # (N, N) in [0, 1] of the edited atlas
        change: ColourChange | None,
    ) -> Reach:
        """Tell from an edited atlas and the edit's colour change; both without what a keep-mask keeps, which stays."""
        kinds = np.where(coverage >= SEEN, SEEN_BY_A_KEYFRAME, STAYS).astype(np.uint8)
        if change is not None:
            share = cv2.resize(change.share, kinds.shape[::-1], interpolation=cv2.INTER_LINEAR)
            kinds[(kinds == STAYS) & (share >= SEEN)] = FOLLOWS
        return cls(maps, layer, kinds)

    def shares(self) -> dict[int, float]:
        """Measure the share of the layer's visible pixels (all frames) of each kind; they add up to 1 where it is visible."""
        shares = shares_of_kinds(self.maps, self.layer, self.kinds, len(MEANINGS) + 1)
        shown = shares.any()
        return {kind: float(shares[kind]) if shown or kind != STAYS else 1.0 for kind in MEANINGS}

    def seen_in(self, frame: int) -> np.ndarray:  # (H, W) uint8
        """Look up the kind of each pixel of a frame; 0 where the layer is not visible."""
        uv = torch.from_numpy(np.ascontiguousarray(self.maps.uv(self.layer, frame), np.float32))
        kinds = sample(torch.from_numpy(self.kinds.astype(np.float32))[..., None], uv, mode="nearest")[..., 0].numpy()
        return np.where(self.maps.opacity(self.layer, frame) > VISIBLE, kinds, 0).astype(np.uint8)

    def tinted(self, frame: int, picture: np.ndarray) -> np.ndarray:  # (H, W, 3) uint8 -> the same
        """Tint the grey picture of a frame by what becomes of its pixels; other layers are darkened."""
        grey, kinds = np.repeat(picture.mean(-1, keepdims=True), 3, -1), self.seen_in(frame)
        result = _ELSEWHERE * grey
        for kind, tint in _TINTS.items():
            result[kinds == kind] = (1 - _STRENGTH) * grey[kinds == kind] + _STRENGTH * np.array(tint, np.float32)
        return (result + 0.5).astype(np.uint8)

    def picture(self, frames: Mapping[int, np.ndarray], side: int) -> np.ndarray:  # (H, W, 3) uint8 each -> (H', W', 3) uint8
        """Draw some frames, tinted, under a line that says what the tints mean and how much of the layer each is."""
        columns = [(str(index), [thumbnail(self.tinted(index, frame), side)]) for index, frame in frames.items()]
        sheet = contact_sheet(columns)
        legend = _legend(self.layer, self.shares())
        return beneath([legend, sheet])


def beneath(images: list[np.ndarray]) -> np.ndarray:  # (H, W, 3) uint8 each -> (sum of H, largest W, 3) uint8
    """Put pictures one beneath the other, on dark ground where they are narrower."""
    width = max(image.shape[1] for image in images)
    rows = [np.pad(i, ((0, 0), (0, width - i.shape[1]), (0, 0)), constant_values=_GROUND) for i in images]
    return np.concatenate(rows)


def _legend(layer: str, shares: dict[int, float]) -> np.ndarray:  # (_LINE, W, 3) uint8
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    worth = {kind: share for kind, share in shares.items() if share >= _LEAST}
    texts = [(None, f"{layer}:"), *((_TINTS[kind], f"{share:.1%} {MEANINGS[kind]}") for kind, share in worth.items())]
    widths = [cv2.getTextSize(text, font, scale, 1)[0][0] for _, text in texts]
    line, left = np.full((_LINE, sum(widths) + 36 * len(texts), 3), _GROUND, np.uint8), 4
    for (tint, text), width in zip(texts, widths, strict=True):
        if tint is not None:
            cv2.rectangle(line, (left, 7), (left + 11, 18), tint, cv2.FILLED)
            left += 16
        cv2.putText(line, text, (left, 17), font, scale, _INK, 1, cv2.LINE_AA)
        left += width + 16
    return line
