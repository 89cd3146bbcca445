"""Boxes of an image that hold one value."""

from __future__ import annotations

import numpy as np

from atlas.geometry.texture import Texture
from atlas.geometry.uniform import UniformParts


def test_a_box_of_one_value_is_found_and_one_of_two_is_not() -> None:
    image = np.zeros((40, 60, 2), np.float32)
    image[20:, :, 1] = 0.5
    parts = UniformParts(image)
    assert parts.value((0, 10), (3, 50)).tolist() == [0, 0]  # type: ignore[union-attr]
    assert parts.value((30.2, 99.0), (-7.0, 59.5)).tolist() == [0, 0.5]  # type: ignore[union-attr]
    assert parts.value((10, 30), (0, 59)) is None


def test_it_never_takes_what_differs_for_one() -> None:
    random = np.random.default_rng(0)
    image = np.zeros((37, 53, 1), np.float32)
    image[tuple(random.integers(0, side, 8) for side in image.shape[:2])] = 1
    parts, found = UniformParts(image), 0
    for _ in range(500):
        (top, bottom), (left, right) = (np.sort(random.integers(0, side, 2)) for side in image.shape[:2])
        value = parts.value((top, bottom), (left, right))
        if value is not None:
            found += 1
            assert (image[top : bottom + 1, left : right + 1] == value).all()
    assert found > 20


def test_texels_that_are_replaced_are_looked_at_again() -> None:
    """Boxes at the border and across cells, of one value and of many: as if the image were asked about for the first time."""
    random = np.random.default_rng(1)
    image = np.zeros((37, 53, 2), np.float32)
    parts, found = UniformParts(image), 0
    for number in range(60):
        (top, bottom), (left, right) = (np.sort(random.choice(side + 1, 2, replace=False)) for side in image.shape[:2])
        box = slice(int(top), int(bottom)), slice(int(left), int(right))
        image[box] = number % 3 if number % 2 else random.integers(0, 2, image[box].shape)
        parts.renew(box)
        anew = UniformParts(image)
        for place in range(0, 37, 4):
            value, expected = (asked.value((place, place + 3), (place, place + 7)) for asked in (parts, anew))
            assert (value is None) == (expected is None)
            if value is not None:
                found += 1
                np.testing.assert_array_equal(value, expected)
    assert 50 < found < 550


def test_a_uniform_look_up_is_what_looking_up_gives() -> None:
    """At full size and from smaller copies; beside what differs nothing is called uniform."""
    image = np.zeros((200, 200, 3), np.float32)
    image[:, 120:] = 0.25
    texture = Texture(image)
    y, x = np.indices((20, 30), np.float32)
    for first, scale, whole in ((10.0, 1.0, True), (130.0, 1.5, True), (88.0, 1.0, False)):
        uv = np.stack([(first + scale * x) / 100 - 1, (50 + scale * y) / 100 - 1], -1)
        level = np.full((20, 30), 0.5, np.float32) if scale > 1 else None
        value = texture.uniform(uv, level)
        assert (value is not None) == whole
        if value is not None:
            (colours,) = texture.at_level(uv, level)
            np.testing.assert_array_equal(colours[..., :3].numpy(), np.broadcast_to(value, (20, 30, 3)))
