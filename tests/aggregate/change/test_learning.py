"""Colour changes learned from keyframes of the sample: what they explain, where they stop, and when there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from aggregate.change.learning import EditedPixels, changed, learn_change
from atlas.geometry.warp import sample as sample_at
from atlas.recolour.change import ColourChange
from atlas.sample.scene import Sample
from atlas.storage.images import to_float, to_uint8

pytestmark = pytest.mark.slow
LAYER = "background"


def invert(frame: np.ndarray) -> np.ndarray:
    return 1 - frame


def learned(sample: Sample, edit: Callable[[np.ndarray, int], np.ndarray], keyframes: tuple[int, ...]) -> ColourChange | None:
    def pixels(index: int) -> EditedPixels:
        before = to_float(sample.frames[index])
        after, opacity = to_float(to_uint8(edit(before, index))), sample.opacities[LAYER][index]
        return EditedPixels(before, after, sample.uvs[LAYER][index], sample.lights[LAYER][index], opacity, opacity)

    return learn_change([partial(pixels, index) for index in keyframes], sample.atlases[LAYER].shape[:2])


def shares(change: ColourChange, sample: Sample, index: int) -> np.ndarray:
    return sample_at(torch.from_numpy(change.share)[..., None], torch.from_numpy(sample.uvs[LAYER][index]))[..., 0].numpy()


@pytest.mark.parametrize("keyframes", [(0,), (0, 6)])
def test_a_recolour_holds_on_frames_that_are_no_keyframes(sample: Sample, keyframes: tuple[int, ...]) -> None:
    change = learned(sample, lambda frame, _: invert(frame), keyframes)
    assert change is not None and change.share.min() == 1 and change.matte is None and not change.unlit
    frame = to_float(sample.frames[11])
    apart = changed(change, frame, sample.uvs[LAYER][11], sample.lights[LAYER][11]) - invert(frame)
    assert np.sqrt((apart[sample.opacities[LAYER][11] > 0.98] ** 2).mean()) < 1 / 255


def test_what_was_left_alone_stays_to_the_bit(sample: Sample) -> None:
    """One half of the atlas is edited: there the change applies, in the other it is exactly 0."""

    def half(frame: np.ndarray, index: int) -> np.ndarray:
        return np.where(sample.uvs[LAYER][index][..., :1] < 0, invert(frame), frame)

    change = learned(sample, half, (0, 6, 11))
    assert change is not None
    for index in (3, 8):
        u, share = sample.uvs[LAYER][index][..., 0], shares(change, sample, index)
        pure = sample.opacities[LAYER][index] > 0.98
        assert share[pure & (u < -0.15)].mean() > 0.9
        assert not share[pure & (u > 0.01)].any()


def test_a_new_texture_is_no_change_of_colour(sample: Sample) -> None:
    def painted(frame: np.ndarray, index: int) -> np.ndarray:
        u, v = np.moveaxis(sample.uvs[LAYER][index], -1, 0)
        waves = np.stack([np.sin(14 * u), np.cos(12 * v + 5 * u), np.sin(13 * (u - v))], -1)
        return np.clip(0.2 * frame + 0.4 + 0.3 * waves, 0, 1)

    for keyframes in ((0,), (0, 4, 8)):
        change = learned(sample, painted, keyframes)
        assert change is None or change.share.mean() < 0.15


def test_a_small_patch_is_no_change_of_colour(sample: Sample) -> None:
    def patched(frame: np.ndarray, index: int) -> np.ndarray:
        u, v = np.moveaxis(sample.uvs[LAYER][index], -1, 0)
        return np.where(((np.abs(u + 0.3) < 0.08) & (np.abs(v) < 0.08))[..., None], np.float32([0.1, 0.8, 0.2]), frame)

    change = learned(sample, patched, (0,))
    if change is not None:
        u, v = np.moveaxis(sample.uvs[LAYER][9], -1, 0)
        assert not shares(change, sample, 9)[(np.abs(u + 0.3) > 0.12) | (np.abs(v) > 0.12)].any()


def test_a_material_is_told_from_a_picture(sample: Sample) -> None:
    """A new material has the layer's light: the change is one of the colours without it."""
    true = sample.render({LAYER: np.sqrt(sample.atlases[LAYER][..., :3]) * np.float32([0.6, 0.4, 0.2])})
    change = learned(sample, lambda _, index: np.clip(true[index], 0, 1), (0, 6, 11))
    assert change is not None and change.unlit


def test_a_layer_of_few_pixels(sample: Sample) -> None:
    for count in (1, 2, 15, 16, 40):
        opacity = np.zeros_like(sample.opacities[LAYER][0])
        opacity[20, 30 : 30 + count] = 1
        before = to_float(sample.frames[0])
        pixels = EditedPixels(before, 1 - before, sample.uvs[LAYER][0], sample.lights[LAYER][0], opacity, opacity)
        change = learn_change([lambda pixels=pixels: pixels], sample.atlases[LAYER].shape[:2])  # type: ignore[misc]
        assert count >= 16 or change is None


def test_a_material_brighter_than_white_needs_no_grid(sample: Sample) -> None:
    """Without light colours leave [0, 1]: what is clipped there is no correction to be learned."""
    random = np.random.default_rng(0)
    albedo, light = random.uniform(0.2, 1.35, (64, 96, 3)), random.uniform(0.5, 0.74, (64, 96, 1)).repeat(3, 2)
    y, x = np.mgrid[:64, :96]
    one = np.ones((64, 96), np.float32)
    before, after = (np.float32(image * light) for image in (albedo, 0.7 * albedo[..., [1, 2, 0]] ** 0.7))
    pixels = EditedPixels(before, after, np.float32(np.stack([x / 48 - 1, y / 32 - 1], -1)), np.float32(light), one, one)
    change = learn_change([lambda: pixels], (128, 128))
    assert change is not None and change.unlit and change.grid is None
    assert np.abs(changed(change, before, pixels.uv, pixels.light) - after).mean() < 1 / 255


def test_no_edit_is_no_change(sample: Sample) -> None:
    assert learned(sample, lambda frame, _: frame, (0, 6)) is None


def test_the_same_keyframes_give_the_same_change(sample: Sample) -> None:
    one, same = (learned(sample, lambda frame, _: frame[..., [2, 0, 1]], (0, 6)) for _ in range(2))
    assert one is not None and same is not None
    np.testing.assert_array_equal(one.table.values, same.table.values)
    np.testing.assert_array_equal(one.share, same.share)
