"""The crop around a layer: what a model sees of a frame, and how it comes back."""

from __future__ import annotations

import numpy as np
import pytest

from edit.diffusion.crop import Crop, model_size, resized


def opacity(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    image = np.zeros((height, width), np.float32)
    image[rows, columns] = 1
    return image


def test_the_box_holds_the_layer_and_a_margin() -> None:
    crop = Crop.around(opacity(400, 600, slice(150, 250), slice(200, 330)), 512)
    assert crop is not None
    assert crop.top <= 120 and crop.bottom >= 280 and crop.left <= 170 and crop.right >= 360
    assert (crop.bottom - crop.top) % 8 == 0 and (crop.right - crop.left) % 8 == 0
    assert crop.bottom - crop.top <= 168 and crop.right - crop.left <= 198
    assert (crop.height, crop.width) == (512, 640) or min(crop.height, crop.width) == 512


def test_it_stays_inside_the_frame() -> None:
    crop = Crop.around(opacity(61, 97, slice(0, 20), slice(90, 97)), 64)
    assert crop is not None
    assert crop.top == 0 and crop.right == 97 and crop.bottom <= 61 and crop.left >= 0


def test_a_layer_that_is_not_seen_has_none() -> None:
    assert Crop.around(np.zeros((20, 20), np.float32), 64) is None
    assert Crop.around(np.full((20, 20), 1 / 255, np.float32), 64) is None


@pytest.mark.parametrize(
    ("box", "seen"),
    [((100, 100), (512, 512)), ((100, 150), (512, 768)), ((100, 1000), (128, 1024)), ((1080, 1920), (512, 896))],
)
def test_what_the_model_sees(box: tuple[int, int], seen: tuple[int, int]) -> None:
    assert model_size(*box, 512) == seen


def test_an_unedited_crop_comes_back_and_fades_into_the_frame() -> None:
    y, x = np.mgrid[:120, :200] / 200
    frame = (0.5 + 0.4 * np.stack([np.sin(9 * x), np.cos(7 * y), np.sin(5 * (x + y))], -1)).astype(np.float32)
    seen = opacity(120, 200, slice(40, 80), slice(0, 60))
    crop = Crop.around(seen, 256)
    assert crop is not None
    back = crop.paste(crop.cut(frame), frame)
    assert -10 * np.log10(((back[..., :3] - frame) ** 2).mean()) > 45
    assert back[..., 3][seen > 0].min() == 1  # all of the layer is edited, at the frame's own side too
    assert back[crop.top, 5, 3] < 0.2 and back[60, crop.right - 1, 3] < 0.2 and back[60, 0, 3] == 1
    assert (back[crop.bottom :, :, 3] == 0).all() and np.array_equal(back[crop.bottom :, :, :3], frame[crop.bottom :])


def test_floats_stay_in_range() -> None:
    image = np.zeros((16, 16, 3), np.float32)
    image[8:] = 1
    assert resized(image, 64, 64).min() >= 0 and resized(image, 64, 64).max() <= 1
