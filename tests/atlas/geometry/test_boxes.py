"""Bounding boxes against what is written down by hand, for NumPy arrays and tensors alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.geometry.boxes import bounding_box, box_at, box_within, sides_of, union_of


@pytest.fixture
def block() -> np.ndarray:
    """A 2x3 block of ones at row 4, column 5 of a 10x12 image."""
    image = np.zeros((10, 12), np.float32)
    image[4:6, 5:8] = 1
    return image


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, lambda image: image > 0])
def test_box_holds_all_that_is_not_zero(block: np.ndarray, convert) -> None:
    assert bounding_box(convert(block)) == (slice(4, 6), slice(5, 8))
    assert bounding_box(convert(block), 1) == (slice(3, 7), slice(4, 9))


def test_margin_ends_at_the_images_border(block: np.ndarray) -> None:
    assert bounding_box(block, 6) == (slice(0, 10), slice(0, 12))


def test_box_of_negative_and_single_pixels() -> None:
    image = np.zeros((3, 4))
    image[2, 3] = -0.5
    assert bounding_box(image) == (slice(2, 3), slice(3, 4))


@pytest.mark.parametrize("empty", [np.zeros((5, 6)), torch.zeros(5, 6), np.zeros((0, 6)), torch.zeros(5, 0)])
def test_nothing_has_no_box(empty) -> None:
    assert bounding_box(empty, 2) is None


def test_a_part_that_lies_in_an_image_has_a_box() -> None:
    assert box_at(3, 0, (2, 5, 4), (5, 5, 4)) == (slice(3, 5), slice(0, 5))
    for top, left, part in ((4, 0, (2, 5, 4)), (-1, 0, (2, 5, 4)), (0, 1, (2, 5, 4)), (0, 0, (0, 5, 4)), (0, 0, (2, 5, 3))):
        with pytest.raises(ValueError, match=r"does not lie in an image of \(5, 5, 4\)"):
            box_at(top, left, part, (5, 5, 4))


def test_boxes_inside_their_union(block: np.ndarray) -> None:
    first, second = (slice(4, 6), slice(5, 8)), (slice(1, 5), slice(7, 12))
    outer = union_of([first, second])
    assert outer == (slice(1, 6), slice(5, 12)) and sides_of(outer) == (5, 7) == block[outer].shape
    assert box_within(first, outer) == (slice(3, 5), slice(0, 3))
    np.testing.assert_array_equal(block[outer][box_within(first, outer)], block[first])
