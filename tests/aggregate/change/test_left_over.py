"""What a colour change leaves of a keyframe: rounding, a texture, a keyframe that is brighter or moved."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aggregate.change.left_over import LeftOver
from atlas.storage.images import to_float, to_uint8


@pytest.fixture
def recoloured() -> np.ndarray:
    """A picture with detail, (300, 400, 3) in [0.2, 0.8]."""
    coarse = np.random.default_rng(0).uniform(0.2, 0.8, (100, 134, 3)).astype(np.float32)
    return cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_LINEAR)


def compared(keyframe: np.ndarray, recoloured: np.ndarray) -> LeftOver:
    everywhere = np.ones(recoloured.shape[:2], np.float32)
    return LeftOver.of(keyframe, recoloured, everywhere, everywhere > 0)


def test_of_rounding_nothing_is_left(recoloured: np.ndarray) -> None:
    keyframe = to_float(to_uint8(recoloured))
    left = compared(keyframe, recoloured)
    assert left.explained
    np.testing.assert_array_equal(left.frame, keyframe)


def test_a_dot_is_left_and_nothing_around_it(recoloured: np.ndarray) -> None:
    keyframe = to_float(to_uint8(recoloured))
    keyframe[60:63, 80:83] = (1, 0, 0)
    left = compared(keyframe, recoloured)
    assert left.explained
    np.testing.assert_allclose(left.frame[60:63, 80:83], recoloured[60:63, 80:83], atol=1e-6)
    away = np.ones(keyframe.shape[:2], bool)
    away[55:68, 75:88] = False
    np.testing.assert_array_equal(left.frame[away], keyframe[away])


@pytest.mark.parametrize(
    "edited",
    [
        lambda picture: picture * 1.04,  # as of another exposure
        lambda picture: np.roll(picture, 1, 1),  # a pixel aside
        lambda picture: np.where(np.indices((300, 400)).sum(0)[..., None] % 2, picture, picture + 0.04),  # grain
        lambda picture: cv2.rectangle(picture.copy(), (40, 30), (56, 46), (1.0, 0.0, 0.0), cv2.FILLED),  # a logo
    ],
)
def test_what_departs_is_not_explained_and_keeps_its_frame(recoloured: np.ndarray, edited) -> None:  # type: ignore[no-untyped-def]
    left = compared(to_float(to_uint8(edited(recoloured))), recoloured)
    assert not left.explained
    np.testing.assert_array_equal(left.frame, recoloured)


def test_pixels_that_do_not_count_say_nothing(recoloured: np.ndarray) -> None:
    keyframe, weight = to_float(to_uint8(recoloured)), np.ones(recoloured.shape[:2], np.float32)
    keyframe[:, :80], weight[:, :80] = 0, 0
    assert LeftOver.of(keyframe, recoloured, weight, weight == 1).explained


@pytest.mark.parametrize("size", [(300, 400), (720, 1280), (1080, 1920)])
def test_what_is_painted_is_seen_however_large_the_frame_is(size: tuple[int, int]) -> None:
    recoloured = np.full((*size, 3), 0.5, np.float32)
    everywhere = np.ones(size, np.float32)
    logo, checker, dot = (recoloured.copy() for _ in range(3))
    logo[100:122, 100:122] = (1, 0, 0)
    checker[100:220, 100:220] += np.where(np.indices((120, 120)).sum(0)[..., None] % 2, 0.1, -0.1)
    dot[100:103, 100:103] = (1, 0, 0)
    for keyframe, explained in ((logo, False), (checker, False), (dot, True)):
        assert LeftOver.of(keyframe, recoloured, everywhere, everywhere > 0).explained is explained


@pytest.mark.parametrize("opaque", [0, 100])
def test_what_counts_is_what_the_keyframe_edits_of_the_layer(recoloured: np.ndarray, opaque: int) -> None:
    """It is edited in a selection, and shows alone nowhere, or beyond the selection as well."""
    keyframe, weight = to_float(to_uint8(recoloured)), np.zeros(recoloured.shape[:2], np.float32)
    weight[50:150, 50:150] = 1
    alone = np.zeros(weight.shape, bool)
    alone[:, : 2 * opaque] = True
    keyframe[100, 50:150:2] += 0.1  # a line of as much light as shade
    keyframe[100, 51:150:2] -= 0.1
    assert not LeftOver.of(keyframe, recoloured, weight, alone).explained
