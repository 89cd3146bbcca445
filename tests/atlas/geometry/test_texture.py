"""Textures looked up without shimmer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.geometry.texture import SHARP, Texture, level_of_detail
from atlas.geometry.warp import sample
from tests.atlas.geometry.looking_up import planes_at


def grid(height: int, width: int, scale: float, shift: float = 0.0) -> np.ndarray:
    """uv of a frame that shows the middle of the square, `scale` of its width: (H, W, 2) float32."""
    y, x = np.indices((height, width)) + 0.5
    return np.stack([(2 * x / width - 1) * scale + shift, (2 * y / height - 1) * scale * height / width], -1).astype(np.float32)


def looked_up(texture: Texture, uv: np.ndarray, wanted: np.ndarray | None = None, *, smooth: bool = True) -> np.ndarray:
    return torch.stack(planes_at(texture, uv, wanted, smooth=smooth), -1).cpu().numpy()


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_at_the_frames_own_resolution_it_is_the_bilinear_look_up(channels: int) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (90, 90, channels)).astype(np.float32)
    uv = grid(40, 64, 0.7)  # 63 texels on 64 pixels
    uv[0] = 1.3  # beyond the square its border is repeated
    expected = sample(torch.from_numpy(image), torch.from_numpy(uv)).numpy()
    found = looked_up(Texture(image), uv, smooth=False)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(looked_up(Texture(image), uv)[16:], found[16:])


def test_levels_follow_the_footprint() -> None:
    assert level_of_detail(grid(40, 64, 0.7), 90) is None
    for texels in (2, 4, 8):
        level = level_of_detail(grid(40, 64, 1.0), 64 * texels)
        assert level is not None and level.shape == (40, 64)
        np.testing.assert_allclose(level, np.log2(texels / SHARP), atol=1e-3)
    assert level_of_detail(grid(1, 1, 1.0), 64) is None


def test_a_pixel_sees_the_mean_of_what_it_spans() -> None:
    """A checkerboard of single texels from far away is grey, wherever it lies; looked up at full size it flickers."""
    board = np.repeat(((np.indices((256, 256)).sum(0)) % 2)[..., None], 3, 2).astype(np.float32)
    flat, whole = Texture(board), Texture(np.ones((256, 256, 3)))
    for shift in (0.0, 0.003):
        uv = grid(36, 64, 0.9, shift)  # 3.6 texels a pixel
        assert np.abs(looked_up(flat, uv) - 0.5).max() < 0.05
        assert looked_up(flat, uv, smooth=False).std() > 0.1
        np.testing.assert_allclose(looked_up(whole, uv), 1, atol=1e-6)


def test_only_what_recedes_is_smoothed() -> None:
    """The left half of a frame is near, the right half far."""
    image = np.random.default_rng(1).uniform(0, 1, (256, 256, 6)).astype(np.float32)
    y, x = np.indices((64, 128), np.float32)
    u = np.where(x < 64, x, 64 + (x - 64) * 5) / 256 - 0.9
    uv = np.stack([u, y / 256 - 0.5], -1).astype(np.float32)
    near = np.zeros((64, 128), bool)
    near[:, :52] = True
    full, smooth = looked_up(Texture(image), uv, smooth=False), looked_up(Texture(image), uv)
    np.testing.assert_array_equal(smooth[near], full[near])
    assert smooth[:, 76:].std() < 0.8 * full[:, 76:].std()
    wanted = np.ones((64, 128), np.float32)
    wanted[:, 90:] = 0  # what is not seen is not worth the work
    partly = looked_up(Texture(image), uv, wanted)
    np.testing.assert_array_equal(partly[:, 90:], full[:, 90:])
    np.testing.assert_array_equal(partly[:, :90], smooth[:, :90])


def test_nothing_stays_exactly_nothing() -> None:
    image = np.zeros((101, 101, 6), np.float32)
    image[:20] = 0.5
    uv = grid(30, 40, 0.5) + np.float32([0, 0.3])
    assert (looked_up(Texture(image), uv) == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees() -> None:
    image = np.random.default_rng(2).uniform(0, 1, (200, 200, 6)).astype(np.float32)
    uv = grid(36, 64, 0.9)
    on_gpu = looked_up(Texture(image, "cuda"), uv)
    np.testing.assert_allclose(on_gpu, looked_up(Texture(image), uv), atol=1e-4)


@pytest.mark.parametrize("scale", [0.7, 4.0])  # at full size, and from smaller copies
def test_texels_that_are_replaced_show_at_once(scale: float) -> None:
    random = np.random.default_rng(0)
    image, uv = random.uniform(-1, 1, (90, 90, 6)).astype(np.float32), grid(40, 64, scale)
    texture = Texture(image.copy())
    looked_up(texture, uv)
    part = random.uniform(-1, 1, (20, 30, 6)).astype(np.float32)
    texture.put((slice(35, 55), slice(30, 60)), part)
    image[35:55, 30:60] = part
    np.testing.assert_array_equal(looked_up(texture, uv), looked_up(Texture(image), uv))
