"""Where an image departs from one value."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.geometry.departures import Departures
from atlas.geometry.texture import Texture


def places(rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Texel coordinates, whole at centres, as uv."""
    return np.stack([(columns + 0.5) * (2 / size[1]) - 1, (rows + 0.5) * (2 / size[0]) - 1], -1).astype(np.float32)


def test_what_is_far_from_a_departure_is_left_out_and_what_is_at_it_is_not() -> None:
    image = np.zeros((40, 60, 2), np.float32)
    image[20, 30, 1] = 0.5
    uv = places(np.array([[20.0, 20.9, 5.0, 39.0]]), np.array([[30.0, 29.2, 5.0, 59.0]]), (40, 60))
    reached = Departures(image).reached(uv)
    assert reached is not None and reached.tolist() == [[True, True, False, False]]
    assert Departures(np.ones((8, 8, 1), np.float32), 1).reached(uv) is None


@pytest.mark.parametrize("size", [(64, 64), (37, 53)])
@pytest.mark.parametrize("depth", [None, 0.4, 1.7])
def test_look_ups_that_are_left_out_give_the_value(size: tuple[int, int], depth: float | None) -> None:
    """At random places, also outside of the image, at full size and from smaller copies."""
    random = np.random.default_rng(0)
    image = np.full((*size, 3), 0.25, np.float32)
    image[tuple(random.integers(0, side, 3) for side in size)] = 1
    texture = Texture(image)
    uv = random.uniform(-1.1, 1.1, (60, 70, 2)).astype(np.float32)
    level = None if depth is None else np.full((60, 70), depth, np.float32)
    reached = texture.departing(uv, level, 0.25)
    assert reached is not None and (~reached).sum() > 50
    (colours,) = texture.at_level(uv, level)
    assert (colours[..., :3].numpy()[~reached] == 0.25).all()
    assert (~reached).mean() > 0.4 or depth is not None


@pytest.mark.parametrize("depth", [5.0, 6.5, 11.0])
def test_from_far_away_a_departure_is_near(depth: float) -> None:
    """No look-up reaches further than bilinear ones of copies that small, and none is left out that does."""
    image = np.zeros((700, 900, 1), np.float32)
    image[350, 450] = 1
    uv = places(*np.meshgrid(np.arange(0, 700, 7.0), np.arange(0, 900, 9.0), indexing="ij"), (700, 900))
    reached = Departures(image).reached(uv, np.full(uv.shape[:2], depth, np.float32))
    assert reached is not None
    reach = 2 ** (np.ceil(depth) + 1)
    apart = np.maximum(abs(np.arange(0, 700, 7.0) - 350)[:, None], abs(np.arange(0, 900, 9.0) - 450))
    assert reached[apart <= reach].all() and not reached[apart > reach + 16].any()
    small = Departures(image[346:354, 446:454]).reached(uv, np.full(uv.shape[:2], depth, np.float32))
    assert small is not None and small.all()


def test_texels_that_are_replaced_are_looked_at_again() -> None:
    """As if the image were asked about for the first time, whatever was there before."""
    random = np.random.default_rng(1)
    image, (rows, columns) = np.zeros((37, 53, 2), np.float32), np.indices((37, 53))
    uv, departures = places(rows, columns, (37, 53)), Departures(image)
    for number in range(20):
        (top, bottom), (left, right) = (np.sort(random.choice(side + 1, 2, replace=False)) for side in image.shape[:2])
        box = slice(int(top), int(bottom)), slice(int(left), int(right))
        image[box] = 0 if number % 3 else random.integers(0, 2, image[box].shape)
        departures.renew(box)
        found, anew = departures.reached(uv), Departures(image).reached(uv)
        assert (found is None) == (anew is None)
        if found is not None and anew is not None:
            np.testing.assert_array_equal(found, anew)
            assert found[image.any(-1)].all()
