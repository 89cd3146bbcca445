"""What moves against a moving background is found, and where nothing does that is said."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from atlas.errors import UserError
from atlas.masks.motion import masks_from_motion
from atlas.masks.moving.compare import background_motion

HEIGHT, WIDTH = 120, 160


def texture(seed: int, height: int, width: int, low: int, high: int) -> np.ndarray:
    """Smooth random texture with a mean colour of its own."""
    noise = np.random.default_rng(seed).uniform(0, 1, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (low + smooth * (high - low)).astype(np.uint8)


GROUND = texture(1, 200, 260, 20, 190)
THING = texture(2, 40, 44, 90, 255)
LEG = texture(5, 30, 44, 30, 170)


def scene(index: int, speed: int = 3, pan: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A panning view of a textured ground with a textured thing that moves across it, and the thing's mask."""
    frame = GROUND[20 : 20 + HEIGHT, 20 + pan * index : 20 + pan * index + WIDTH].copy()
    mask = np.zeros((HEIGHT, WIDTH), bool)
    left, top = 30 + (speed - pan) * index + 20, 40 + index
    frame[top : top + 40, left : left + 44] = THING
    mask[top : top + 40, left : left + 44] = True
    return frame, mask


def found_in(frame: Callable[[int], np.ndarray], frames: int) -> list[np.ndarray]:
    return list(masks_from_motion(frame, frames, quiet=True))


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.count_nonzero((found > 127) & truth) / np.count_nonzero((found > 127) | truth))


@pytest.mark.parametrize(("speed", "pan"), [(3, 2), (4, 0)])
def test_a_moving_thing_is_found(speed: int, pan: int) -> None:
    masks = found_in(lambda index: scene(index, speed, pan)[0], 10)
    assert len(masks) == 10 and masks[0].dtype == np.uint8 and masks[0].shape == (HEIGHT, WIDTH)
    scores = [overlap(mask, scene(index, speed, pan)[1]) for index, mask in enumerate(masks)]
    assert np.mean(scores) > 0.8 and min(scores) > 0.65


def test_the_same_frames_give_the_same_masks() -> None:
    first, second = (found_in(lambda index: scene(index)[0], 4) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_two_frames_are_enough() -> None:
    masks = found_in(lambda index: scene(index, 6, 1)[0], 2)
    assert min(overlap(mask, scene(index, 6, 1)[1]) for index, mask in enumerate(masks)) > 0.5


@pytest.mark.parametrize("pan", [0, 2])
def test_where_nothing_moves_that_is_said(pan: int) -> None:
    with pytest.raises(UserError, match="nothing moves.*--masks box"):
        found_in(lambda index: GROUND[20 : 20 + HEIGHT, pan * index : pan * index + WIDTH].copy(), 6)


def test_noise_is_no_motion() -> None:
    rng = np.random.default_rng(3)
    frames = [
        np.clip(GROUND[:HEIGHT, :WIDTH] + rng.normal(0, 4, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for _ in range(6)
    ]
    with pytest.raises(UserError, match="nothing moves"):
        found_in(lambda index: frames[index], 6)


def test_untextured_frames_show_no_motion() -> None:
    with pytest.raises(UserError, match="nothing moves"):
        found_in(lambda index: np.full((HEIGHT, WIDTH, 3), 100, np.uint8), 4)


def test_the_background_s_motion_is_found_beside_a_large_object() -> None:
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[...] = (1.5, -0.5)
    flow[24:96, 32:128] = (5, 3)
    tracked = background_motion(flow, np.ones((HEIGHT, WIDTH), bool))
    assert tracked is not None
    residual, scatter, homography = tracked
    assert residual[:20].max() < 0.05 and residual[30:90, 40:120].min() > 4 and scatter == pytest.approx(0.05)
    np.testing.assert_allclose(homography, [[1, 0, 1.5], [0, 1, -0.5], [0, 0, 1]], atol=1e-3)
    assert background_motion(flow, np.zeros((HEIGHT, WIDTH), bool)) is None


def striding(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tall thing that sways and moves on; its lower half, in the ground's colours, rests in frames 8 to 15."""
    frame = GROUND[20 : 20 + HEIGHT, 20 : 20 + WIDTH].copy()
    upper, lower = np.zeros((2, HEIGHT, WIDTH), bool)
    foot = 20 + 2 * index if index < 8 else 36 if index < 16 else 2 * index + 4
    left = foot + (2 * (index - 7) if 8 <= index < 12 else 2 * (16 - index) if 12 <= index < 16 else 0)
    frame[30:70, left : left + 44] = THING
    frame[70:100, foot : foot + 44] = LEG
    upper[30:70, left : left + 44] = True
    lower[70:100, foot : foot + 44] = True
    return frame, upper | lower, lower


def test_a_part_that_stops_for_some_frames_stays_in_the_mask() -> None:
    masks = found_in(lambda index: striding(index)[0], 24)
    kept = [float(np.mean(mask[striding(index)[2]] > 127)) for index, mask in enumerate(masks)]
    assert min(kept) > 0.8
    assert np.mean([overlap(mask, striding(index)[1]) for index, mask in enumerate(masks)]) > 0.8
