"""Evidence of motion: optical flow of light that moves over a surface is no motion of it; a part's own motion is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from atlas.clip.flow import dense_flow
from atlas.geometry.evidence import flow_evidence, smooth_evidence, texture_without_light

SIZE = (160, 240)
GRID = (40, 60)
SHIFT = np.array([2.0, 1.0], np.float32)
"""What the surface moves, from the first frame to the second, in pixels."""


def noise(seed: int, sigma: float) -> np.ndarray:
    """Smooth noise of deviation 1, over more than a frame."""
    rough = np.random.default_rng(seed).normal(size=(SIZE[0] + 40, SIZE[1] + 40)).astype(np.float32)
    smooth = cv2.GaussianBlur(rough, (0, 0), sigma)
    return smooth / smooth.std()


def surface() -> np.ndarray:
    """A textured surface with a bare place in its middle, and a few marks on that."""
    texture = 15 * noise(0, 2.0)
    y, x = np.mgrid[: texture.shape[0], : texture.shape[1]]
    bare = np.clip((np.maximum(abs(x - 140) / 80, abs(y - 100) / 50) - 1) * 10, 0, 1)
    image = 110 + texture * (0.03 + 0.97 * bare)
    for column, row in ((90, 70), (190, 72), (92, 130), (186, 126), (140, 146)):
        cv2.circle(image, (column, row), 4, 60.0, -1, cv2.LINE_AA)
    return image


def seen(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The surface when it has moved by `shift`: (H, W)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    places = (x + 20 - np.float32(shift[0]), y + 20 - np.float32(shift[1]))
    return cv2.remap(image.astype(np.float32), *places, cv2.INTER_LINEAR)


def light(kind: str, at: float) -> np.ndarray:
    """Gain of a light at a column: the edge of a shadow, or a highlight."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    if kind == "shadow":
        return 0.55 + 0.45 / (1 + np.exp(np.clip((at - x - 0.2 * y) / 1.5, -30, 30)))
    return 1 + 0.7 * np.exp(-(np.minimum(((x - at) / 9) ** 2 + ((y - 80) / 14) ** 2, 6) ** 2))


def found(first: np.ndarray, second: np.ndarray, inside: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What the evidence of optical flow comes to, and the flow itself: (H, W, 2) both."""
    pictures = [np.clip(image, 0, 255).round().astype(np.uint8) for image in (first, second)]
    weight = np.ones(SIZE, np.float32) if inside is None else inside.astype(np.float32)
    flow = dense_flow(*pictures)
    texture = texture_without_light(np.repeat(pictures[0][..., None], 3, -1) / np.float32(255), weight)
    planes = [*flow_evidence(texture, flow, weight), weight]
    cells = np.dstack([cv2.resize(plane, GRID[::-1], interpolation=cv2.INTER_AREA) for plane in planes])
    moved = smooth_evidence(cells[..., :6], cells[..., 6], 1.0, certain=0.1)
    return cv2.resize(moved, SIZE[::-1], interpolation=cv2.INTER_LINEAR), flow


@pytest.mark.parametrize(
    ("kind", "at", "steps"), [("shadow", 135.0, -5.0), ("highlight", 118.0, -4.0), ("highlight", 118.0, 5.0)]
)
def test_light_that_moves_over_a_surface_is_no_motion(kind: str, at: float, steps: float) -> None:
    """The light moves on its own over the bare place; optical flow follows it, the surface does not."""
    image = surface()
    first = seen(image, np.zeros(2)) * light(kind, at)
    moved, flow = found(first, seen(image, SHIFT) * light(kind, at + steps))
    lit = np.zeros(SIZE, bool)
    lit[50:110, 95:140] = True
    wrong, error = (np.linalg.norm(motion - SHIFT, axis=-1)[lit] for motion in (flow, moved))
    assert np.quantile(wrong, 0.8) > 2.5  # else there is nothing to show
    assert np.median(error) < 0.3 and np.quantile(error, 0.95) < 0.3


def test_a_bare_place_moves_with_what_is_round_about() -> None:
    image = surface()
    moved, _ = found(seen(image, np.zeros(2)), seen(image, SHIFT))
    assert np.linalg.norm(moved - SHIFT, axis=-1)[8:-8, 8:-8].max() < 0.4


def test_a_textured_part_goes_its_own_way() -> None:
    """A part with texture of its own moves against the surface around it (a leg before the other): it is followed."""
    own = 110 + 20 * noise(3, 1.5)
    part = np.zeros(SIZE, bool)
    part[60:110, 100:140] = True
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    later = (y >= 60) & (y < 110) & (x >= 97) & (x < 137)
    first = np.where(part, seen(own, np.zeros(2)), seen(110 + 15 * noise(0, 2.0), np.zeros(2)))
    second = np.where(later, seen(own, np.array([-3.0, 0.0])), seen(110 + 15 * noise(0, 2.0), SHIFT))
    moved, _ = found(first, second)
    assert np.median(np.linalg.norm(moved - (-3, 0), axis=-1)[64:106, 104:136]) < 0.5  # of 5.1 px between the two


def test_outside_the_layer_nothing_counts() -> None:
    image, inside = surface(), np.zeros(SIZE, bool)
    inside[30:120, 40:200] = True
    first, second = seen(image, np.zeros(2)), np.where(inside, seen(image, SHIFT), seen(image, -3 * SHIFT))
    moved, _ = found(first, second, inside)
    assert np.median(np.linalg.norm(moved - SHIFT, axis=-1)[inside]) < 0.2
    nothing = smooth_evidence(np.zeros((*GRID, 6), np.float32), np.zeros(GRID, np.float32), 1.0, certain=0.1)
    assert nothing.shape == (*GRID, 2) and not nothing.any()
