"""Known answers of every metric."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from atlas.metrics import definitions as metrics


def shifted_texture(shift: int, height: int = 40, width: int = 60) -> np.ndarray:
    wide = np.random.default_rng(1).random((height, width + 20, 3))
    return wide[:, shift : shift + width]


def test_psnr_by_hand() -> None:
    black = np.zeros((8, 8, 3))
    assert metrics.psnr(black + 0.1, black) == pytest.approx(20, abs=1e-5)
    assert metrics.psnr(black + 0.01, black) == pytest.approx(40, abs=1e-4)
    assert metrics.psnr(np.full((8, 8, 3), 51, np.uint8), np.zeros((8, 8, 3), np.uint8)) == pytest.approx(13.9794, abs=1e-4)


def test_psnr_clamps_and_knows_identity() -> None:
    white = np.ones((8, 8, 3))
    assert metrics.psnr(white * 3, white) == math.inf
    assert metrics.average_db([math.inf, 50.0]) == 75
    assert metrics.average_db([math.nan, 30.0, 40.0]) == 35
    assert math.isnan(metrics.average_db([math.nan]))


def test_psnr_of_a_mask() -> None:
    truth = np.zeros((8, 8, 3))
    image = truth.copy()
    image[:, :4] += 0.1
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    assert metrics.psnr(image, truth, mask) == pytest.approx(20, abs=1e-5)
    assert metrics.psnr(image, truth, mask == 0) == math.inf
    assert math.isnan(metrics.psnr(image, truth, np.zeros((8, 8), bool)))


def test_a_mask_is_inside_above_one_half() -> None:
    np.testing.assert_array_equal(metrics.inside(np.array([[0, 127, 128, 255]], np.uint8)), [[False, False, True, True]])
    np.testing.assert_array_equal(metrics.inside(np.array([[0.5, 0.51]])), [[False, True]])


def test_ssim() -> None:
    image = shifted_texture(0)
    assert metrics.ssim(image, image) == pytest.approx(1)
    noisy = np.clip(image + 0.3 * np.random.default_rng(0).standard_normal(image.shape), 0, 1)
    assert metrics.ssim(noisy, image) < 0.8
    half = image.copy()
    half[:, 40:] = 0.5
    mask = np.zeros(image.shape[:2], bool)
    mask[:, :30] = True
    assert metrics.ssim(half, image, mask) == pytest.approx(1)
    assert math.isnan(metrics.ssim(image[:5, :5], image[:5, :5]))


def test_warp_error_of_a_moving_texture_is_zero() -> None:
    # The content moves 3 pixels to the left from one frame to the next.
    first, second = shifted_texture(0), shifted_texture(3)
    flow = np.zeros((40, 60, 2), np.float16)
    flow[..., 0] = -3
    valid = np.ones((40, 60), np.uint8)
    assert metrics.warp_error(first, second, flow, valid) == pytest.approx(0, abs=1e-10)
    assert metrics.pixel_mse(first, second, flow, valid) == pytest.approx(0, abs=1e-5)
    # A flash of 0.1 in all three channels: 3 * 0.01, and 25.5^2.
    base = first * 0.5
    assert metrics.warp_error(base, second * 0.5 + 0.1, flow, valid) == pytest.approx(0.03, rel=1e-4)
    assert metrics.pixel_mse(base, second * 0.5 + 0.1, flow, valid) == pytest.approx(25.5**2, rel=1e-4)
    assert math.isnan(metrics.warp_error(first, second, flow, np.zeros((40, 60))))


def test_warp_errors_of_several_pairs_are_those_of_a_naive_loop() -> None:
    generator = np.random.default_rng(5)
    images = generator.integers(0, 256, (3, 12, 16, 3), dtype=np.uint8)
    flow = generator.integers(-4, 5, (12, 16, 2)).astype(np.float16)  # whole pixels: nothing is interpolated
    valid = generator.random((12, 16)) > 0.3
    squares: dict[int, list[float]] = {1: [], 2: []}
    for y, x in np.argwhere(valid):
        row, column = y + int(flow[y, x, 1]), x + int(flow[y, x, 0])
        if 0 <= row < 12 and 0 <= column < 16:
            for other, of_it in squares.items():
                of_it.append(float((((images[0, y, x].astype(float) - images[other, row, column]) / 255) ** 2).sum()))
    errors = metrics.warp_errors([(images[0], images[1]), (images[0], images[2])], flow, valid)
    assert errors == pytest.approx([np.mean(squares[1]), np.mean(squares[2])], rel=1e-5)
    assert errors == [metrics.warp_error(images[0], images[other], flow, valid) for other in (1, 2)]


def test_change_is_the_mean_difference_inside_the_mask() -> None:
    source = shifted_texture(0)
    result = source.copy()
    result[:, :30, 0] = np.where(source[:, :30, 0] < 0.5, source[:, :30, 0] + 0.3, source[:, :30, 0] - 0.3)
    left = np.zeros(source.shape[:2], bool)
    left[:, :30] = True
    assert metrics.changed(source, source) == 0
    assert metrics.changed(result, source) == pytest.approx(0.05, abs=1e-6)  # half of the pixels, one of three channels
    assert metrics.changed(result, source, left) == pytest.approx(0.1, abs=1e-6)
    assert metrics.changed(result, source, ~left) == 0 and math.isnan(metrics.changed(result, source, left & ~left))
    assert metrics.changed(np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)) == 1


def test_the_laplacian_energy_is_that_of_a_naive_loop() -> None:
    image = np.random.default_rng(2).random((7, 9, 3))
    mask = np.random.default_rng(3).random((7, 9)) > 0.2
    squares = []
    for y in range(1, 6):
        for x in range(1, 8):
            cross = [(y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            if all(mask[place] for place in cross):
                squares.append((sum(image[place] for place in cross[1:]) - 4 * image[y, x]) ** 2)
    assert 0 < len(squares) < 20
    assert metrics.laplacian_energy(image, mask) == pytest.approx(np.mean(squares), rel=1e-5)
    assert math.isnan(metrics.laplacian_energy(image, np.zeros((7, 9), bool))) and math.isnan(
        metrics.laplacian_energy(image[:2])
    )
    slope = np.repeat(np.linspace(0, 1, 9)[None, :, None], 7, 0).repeat(3, 2)
    assert metrics.laplacian_energy(slope) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
def test_a_blur_has_far_less_energy_as_its_kernel_says(sigma: float) -> None:
    noise = 0.4 + 0.2 * np.random.default_rng(0).random((300, 400, 3))
    bell = np.exp(-(np.arange(-8, 9) ** 2) / (2 * sigma**2))
    kernel = np.outer(bell, bell) / bell.sum() ** 2
    blurred = scipy.ndimage.convolve(noise, kernel[..., None], mode="reflect")
    laplacian = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    both = scipy.signal.convolve2d(kernel, laplacian)  # white noise keeps the sum of a kernel's squares
    expected = (both**2).sum() / (laplacian**2).sum()
    sharpness = metrics.laplacian_energy(blurred) / metrics.laplacian_energy(noise)
    assert sharpness == pytest.approx(expected, rel=0.05) and sharpness < 0.05
    assert metrics.laplacian_energy(noise) == pytest.approx(20 * 0.2**2 / 12, rel=0.02)


def test_a_clip_beside_itself() -> None:
    frame, following = shifted_texture(0), shifted_texture(3)
    flow, valid = np.full((40, 60, 2), (-2.5, 0.5), np.float32), np.ones((40, 60), bool)
    error = metrics.warp_error(frame, following, flow, valid)
    assert error > 0 and metrics.ratio(error, metrics.warp_error(frame.copy(), following.copy(), flow, valid)) == 1
    assert metrics.ratio(metrics.laplacian_energy(frame), metrics.laplacian_energy(frame.copy())) == 1


def test_ratio() -> None:
    assert metrics.ratio(0.3, 0.1) == pytest.approx(3)
    assert math.isnan(metrics.ratio(0.3, 0.0))
    assert math.isnan(metrics.ratio(0.3, math.nan))


def test_angles_between_embeddings() -> None:
    one, other = np.array([3, 4], np.float32), np.array([4, 3], np.float32)
    assert metrics.cosine(one, 2 * one) == pytest.approx(1) and metrics.cosine(one, -one) == pytest.approx(-1)
    assert metrics.cosine(one, other) == pytest.approx(24 / 25)
    assert metrics.clip_text(one, other) == pytest.approx(96)
    assert math.isnan(metrics.cosine(one, 0 * one))


def test_a_frame_along_the_flow_is_the_frame_before() -> None:
    texture = np.random.default_rng(0).random((16, 21, 3)).astype(np.float32)
    frame, following = texture[:, 1:].copy(), texture[:, :-1].copy()  # moves right by one pixel
    flow, valid = np.tile(np.float32([1, 0]), (16, 20, 1)), np.ones((16, 20), bool)
    valid[:5] = False
    following[:5] = 0.5  # not seen: the flow is not valid there
    assert np.allclose(metrics.warped_following(frame, following, flow, valid), frame, atol=1e-6)
    assert not np.allclose(metrics.warped_following(frame, following, 0 * flow, valid), frame, atol=1e-2)


def test_keyframe_fidelity_counts_opaque_pixels_of_the_layer() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    keyframe = np.full((4, 4, 4), 255, np.uint8)
    keyframe[..., :3] = 51
    keyframe[0, :, :3], keyframe[0, :, 3] = 255, 0  # transparent: it says nothing
    mask = np.ones((4, 4))
    mask[3] = 0
    keyframe[3, :, :3] = 200
    assert metrics.keyframe_fidelity(keyframe, frame, mask) == pytest.approx(0.2)


def test_iou() -> None:
    a = np.zeros((4, 4), bool)
    b = a.copy()
    a[:2], b[1:3] = True, True
    assert metrics.iou(a, b) == pytest.approx(1 / 3)
    assert math.isnan(metrics.iou(a & ~a, b & ~b))


def test_fold_share() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    everywhere = np.ones((21, 21), bool)
    assert metrics.fold_share(np.stack([x, y], -1), everywhere) == 0
    assert metrics.fold_share(np.stack([-x, y], -1), everywhere) == 0  # mirrored as a whole is no fold
    assert metrics.fold_share(np.stack([np.maximum(x, -0.5), y], -1), everywhere) == pytest.approx(0.25)
    assert metrics.fold_share(np.stack([np.abs(x + 0.5), y], -1), everywhere) == pytest.approx(0.25)
