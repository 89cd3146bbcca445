"""The ground behind what moves is found in other frames, whatever the camera and its exposure do meanwhile."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.masks.moving.behind.plate import background_plate
from atlas.masks.moving.evidence import Footage, footage
from tests.atlas.masks.moving.test_kinds import FIGURE, HEIGHT, WIDTH
from tests.atlas.masks.test_motion import texture

FRAMES, MIDDLE = 25, 12
GROUND = cv2.GaussianBlur(texture(1, HEIGHT, WIDTH + FRAMES, 20, 190), (0, 0), 1.5)  # a tenth of a pixel off is no great error


def exposed(image: np.ndarray, index: int) -> np.ndarray:
    """The camera opens its diaphragm a little in the middle of the clip."""
    return np.clip(image * (1 + 0.008 * (index - MIDDLE)), 0, 255).astype(np.uint8)


def where(index: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:70, 4 + 4 * index : 28 + 4 * index] = True
    return mask


def frame(index: int) -> np.ndarray:
    """The view pans by a pixel a frame, and something crosses it."""
    image = GROUND[:, index : index + WIDTH].copy()
    across = where(index).any(axis=0)
    image[30:70, across] = FIGURE[:40, : np.count_nonzero(across)]
    return exposed(image, index)


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return footage(frame, FRAMES, (WIDTH, HEIGHT), tmp_path_factory.mktemp("plate"), quiet=True)


def beside(index: int) -> np.ndarray:
    return ~where(index)


@pytest.mark.parametrize("index", [0, MIDDLE, FRAMES - 1])
def test_the_ground_behind_is_seen(passing: Footage, index: int) -> None:
    plate = background_plate(passing, index, beside)
    behind = where(index)
    assert plate.seen[behind].mean() > 0.95
    truth = exposed(GROUND[:, index : index + WIDTH], index).astype(np.int32)
    missed = np.abs(plate.colour - truth).max(axis=-1)[behind & plate.seen]
    assert np.median(missed) < 4 and np.percentile(missed, 90) < 10
    assert np.median(plate.spread[behind & plate.seen]) < 4


def through_a_lens(image: np.ndarray) -> np.ndarray:
    """The frame's corners are half as bright as its middle, and its right side is lit by glare."""
    ys, xs = np.mgrid[-0.75 : 0.75 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return np.clip(image * (1 - 0.32 * (xs**2 + ys**2))[..., None] + (15 * xs)[..., None] + 20, 0, 255).astype(np.uint8)


def test_light_that_changes_over_the_frame_is_not_the_ground_s(tmp_path: Path) -> None:
    """The view pans by 3 pixels a frame: the ground passes under the lens's dark corners."""
    ground = cv2.GaussianBlur(texture(7, HEIGHT, WIDTH + 3 * FRAMES, 20, 190), (0, 0), 1.5)

    def world(index: int) -> np.ndarray:
        return ground[:, 3 * index : 3 * index + WIDTH]

    clip = footage(lambda index: through_a_lens(world(index)), FRAMES, (WIDTH, HEIGHT), tmp_path, quiet=True)
    plate = background_plate(clip, MIDDLE, lambda index: np.ones((HEIGHT, WIDTH), bool))
    missed = np.abs(plate.colour.astype(np.int32) - through_a_lens(world(MIDDLE))).max(axis=-1)
    assert plate.seen.mean() > 0.95
    assert np.median(missed[plate.seen]) <= 3 and np.percentile(missed[plate.seen], 90) < 7
    assert np.median(plate.spread[plate.seen]) < 4


def test_what_no_frame_shows_is_not_known(passing: Footage) -> None:
    always = np.zeros((HEIGHT, WIDTH), bool)
    always[40:60, 50:80] = True
    plate = background_plate(passing, MIDDLE, lambda index: np.roll(~always, MIDDLE - index, 1))
    assert not plate.seen[44:56, 54:76].any() and plate.seen[:30, 20:-20].all()
    nothing = background_plate(passing, MIDDLE, lambda index: np.zeros((HEIGHT, WIDTH), bool))
    assert not nothing.seen.any() and not nothing.colour.any()


def test_it_is_the_same_each_time(passing: Footage) -> None:
    first, second = (background_plate(passing, 5, beside) for _ in range(2))
    np.testing.assert_array_equal(first.colour, second.colour)
    np.testing.assert_array_equal(first.spread, second.spread)
