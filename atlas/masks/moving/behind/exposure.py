"""Exposure made equal between two frames that show the same ground: tones, and the light that changes over the frame.

A lens darkens the corners and scatters light, the camera sets its exposure anew, and as the view pans the ground passes under
all of that: a road is brighter at one side of the frame than at the other by more than a shadow is darker. So what one frame is
brighter by is a polynomial of tone and place, fitted to all that both show, and what moved between them does not count.
"""

from __future__ import annotations

import cv2
import numpy as np

_EVERY = 27
"""Of the pixels that both frames show, one of so many is taken."""
_ROUNDS = 4
"""Of weighting anew what does not follow the rest."""
_TONES, _CURVE, _PLACE = 1e-6, 1e-3, 1e-4
"""What holds factors back (for each pixel that is taken): where tones are too few for a curve it stays straight, and where the
ground is seen on one side alone its light is not carried on to the other."""


def exposed_alike(moved: np.ndarray, image: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Change an image's exposure to another's.

    moved, image: (H, W, 3) uint8; common: (H, W) bool, where both show the same; result: (H, W, 3) uint8. Each channel changes
    by a parabola of its tone, and by a parabola of the place, of which one part grows with the tone.
    """
    rows, columns = (places[::_EVERY] for places in np.nonzero(common))
    across, down = _coordinates(common.shape)
    places = [*_places(across[columns], down[rows])]
    tones = np.linspace(0, 1, 256, dtype=np.float32)
    alike = np.empty_like(moved)
    for channel in range(3):
        before = moved[..., channel]
        seen = before[rows, columns]
        tone = tones[seen]
        terms = [np.ones_like(tone), tone, tone * tone, *places, *(tone * place for place in places)]
        factors = _fitted(np.stack(terms, axis=1), image[..., channel][rows, columns].astype(np.float32) - seen)
        curve = 255 * tones + factors[0] + factors[1] * tones + factors[2] * tones * tones
        light, growing = (_parabola(part, across, down) for part in (factors[3:8], factors[8:]))
        alike[..., channel] = np.clip(curve[before] + light + growing * tones[before] + 0.5, 0, 255)
    return alike


def _coordinates(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Places across and down, (W,) and (H,) float32: from -1 to 1 along the longer side, 0 in the middle."""
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) * np.float32(length / max(shape)) for length in shape)
    return across, down


def _places(across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, ...]:
    """What a parabola of the place is made of."""
    return across, down, across * across, down * down, across * down


def _parabola(factors: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:  # (5,), (W,), (H,) -> (H, W)
    """A parabola by its factors in the order of `_places`."""
    row = across * (factors[0] + factors[2] * across)
    column = down * (factors[1] + factors[3] * down)
    return row + (column[:, None] + (factors[4] * down)[:, None] * across)


def _fitted(terms: np.ndarray, change: np.ndarray) -> np.ndarray:  # (N, terms), (N,) -> (terms,) float32
    """The factors of the terms, by least squares with weights of Cauchy."""
    count = terms.shape[1]
    held = np.diag([_TONES, _TONES, _CURVE, *([_PLACE] * (count - 3))]) * len(change)
    both, weight = np.column_stack([terms, change]), np.ones_like(change)
    for _ in range(_ROUNDS):
        # By OpenCV and einsum: numpy's products start threads of BLAS, which take ten times as long for so little.
        products = cv2.mulTransposed(both * np.sqrt(weight)[:, None], aTa=True, dtype=cv2.CV_64F)
        factors = np.linalg.solve(products[:count, :count] + held, products[:count, count])
        missed = change - np.einsum("nt,t->n", terms, factors.astype(np.float32))
        # What moved between the frames does not follow the rest.
        weight = 1 / (1 + np.square(missed / (2 * (1.48 * np.median(np.abs(missed)) + 1))))
    return factors.astype(np.float32)
