"""Tracks: known motions are found, chained over the sample's clip, and stored without loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import BACKGROUND, Clip, Source
from atlas.clip.writer import ClipWriter
from atlas.fitting.tracking import Track, chain_background, chain_object, reference_frame
from atlas.geometry.filling import smooth_within
from atlas.geometry.homography import apply_homography, fit_affinity, fit_homography, pixel_positions
from atlas.masks.depth import background_weight, depth_of, object_weight
from atlas.sample.scene import Sample


def flow_of(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    positions = pixel_positions(height, width)
    return apply_homography(matrix, positions) - positions


def wavy(height: int, width: int, frames: int = 3) -> Track:
    """A track with a perspective of its own and random offsets in each frame."""
    generator = np.random.default_rng(1)
    track = Track.identity(frames, height, width)
    track.base += generator.normal(0, 1, track.base.shape) * np.array([[0.02, 0.02, 3], [0.02, 0.02, 3], [1e-4, 1e-4, 0]])
    track.offset += generator.normal(0, 0.3, track.offset.shape).astype(np.float32)
    return track


def truth_missed(sample: Sample, layer: str, track: Track, reference: int, frame: int) -> np.ndarray:
    """Pixels by which the track misses the truth, for the pixels of a layer whose true place the reference frame shows."""
    uv, here = sample.uvs[layer], sample.opacities[layer][frame] > 0.99
    x, y = np.moveaxis(track.dense(frame, (slice(None), slice(None))), -1, 0)
    inside = (x > 1) & (y > 1) & (x < x.shape[1] - 2) & (y < y.shape[0] - 2)
    found = cv2.remap(uv[reference], x, y, cv2.INTER_LINEAR)
    seen = cv2.remap(sample.opacities[layer][reference], x, y, cv2.INTER_LINEAR) > 0.99
    per_pixel = np.abs(np.diff(uv[reference][..., 0], axis=1)).mean()
    return (np.linalg.norm(found - uv[frame], axis=-1) / per_pixel)[here & inside & seen]


@pytest.mark.parametrize(("height", "width"), [(72, 128), (129, 75)])
def test_a_homography_is_found_among_outliers(height: int, width: int) -> None:
    matrix = np.array([[1.02, 0.03, -2.5], [-0.02, 0.98, 1.5], [1e-4, -5e-5, 1.0]])
    flow = flow_of(matrix, height, width)
    generator = np.random.default_rng(0)
    flow[generator.random(flow.shape[:2]) < 0.3] += generator.uniform(3, 10, 2)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    found = fit_homography(flow, np.ones(flow.shape[:2]))
    assert np.abs(apply_homography(found, corners) - apply_homography(matrix, corners)).max() < 0.05


def test_pixels_without_weight_are_not_followed() -> None:
    flow = np.full((64, 96, 2), (2.0, -1.0))
    flow[:, :60] = (-7, 3)
    weights = np.zeros((64, 96))
    weights[:, 60:] = 1
    np.testing.assert_allclose(fit_homography(flow, weights), [[1, 0, 2], [0, 1, -1], [0, 0, 1]], atol=1e-3)


def test_few_points_give_a_shift_and_none_the_identity() -> None:
    flow = np.full((64, 96, 2), (2.5, -1.25))
    weights = np.zeros((64, 96))
    np.testing.assert_array_equal(fit_homography(flow, weights), np.eye(3))
    weights[10:14, 20:26] = 1
    np.testing.assert_allclose(fit_homography(flow, weights), [[1, 0, 2.5], [0, 1, -1.25], [0, 0, 1]])


def test_an_impossible_step_is_not_taken() -> None:
    """Flow that turns the frame inside out within one frame is no camera motion."""
    flow = flow_of(np.diag([-1.0, 1.0, 1.0]), 64, 96)
    found = fit_homography(flow, np.ones((64, 96)))
    assert np.linalg.det(found[:2, :2]) > 0


def test_an_affinity_is_found_and_a_line_of_points_gives_a_shift() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (500, 2))
    matrix = np.array([[1.03, 0.05, 2.0], [-0.05, 0.97, -3.0], [0, 0, 1]])
    found = fit_affinity(points, apply_homography(matrix, points) - points, np.ones(500))
    assert np.abs(apply_homography(found, points) - apply_homography(matrix, points)).max() < 0.2
    together = np.full((5, 2), 30.0)
    found = fit_affinity(together, np.full((5, 2), 2.0), np.ones(5))
    np.testing.assert_allclose(found, [[1, 0, 2], [0, 1, 2], [0, 0, 1]], atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (67, 41), (35, 50)])
def test_points_and_whole_frames_agree(height: int, width: int) -> None:
    track = wavy(height, width)
    box = (slice(3, height - 2), slice(5, width - 4))
    for frame in range(3):
        np.testing.assert_allclose(
            track.dense(frame, box), track.at(frame, pixel_positions(height, width)[box]), atol=0.03
        )  # OpenCV's remap counts in 32nds of a node


def test_a_track_gives_back_what_its_nodes_hold() -> None:
    track = wavy(67, 41)
    nodes = track.nodes()
    assert nodes.shape == (17, 11, 2)
    np.testing.assert_allclose(nodes[0, 0] + nodes[-1, -1], [40, 66], atol=1e-4)  # symmetric about the frame's middle
    expected = apply_homography(track.base[1], nodes) + track.offset[1]
    np.testing.assert_allclose(track.at(1, nodes), expected, atol=1e-4)


def test_smoothing_keeps_a_constant_and_continues_it() -> None:
    values = np.full((40, 60, 2), (3.0, -2.0), np.float32)
    weights = np.zeros((40, 60), np.float32)
    weights[10:15, 5:12] = 1
    values[weights == 0] = 99  # what has no weight does not count
    np.testing.assert_allclose(smooth_within(values, weights, 1.5), np.full((40, 60, 2), (3.0, -2.0)), rtol=0.01)


def test_smoothing_continues_the_nearest() -> None:
    values, weights = np.zeros((40, 80, 1), np.float32), np.zeros((40, 80), np.float32)
    values[:, :40], values[:, 40:] = 1, 5
    weights[:, 2:8] = weights[:, 70:76] = 1
    smooth = smooth_within(values, weights, 2.0)[..., 0]
    assert np.abs(smooth[:, :20] - 1).max() < 0.3 and np.abs(smooth[:, 60:] - 5).max() < 0.3
    assert np.isfinite(smooth_within(values, np.zeros_like(weights), 2.0)).all()


def test_the_reference_is_where_the_layer_is_large_near_the_middle() -> None:
    sizes = [0.1, 0.5, 0.5, 0.5, 0.1, 0.0]
    assert reference_frame(lambda t: np.full((4, 4), sizes[t]), 6) in (2, 3)
    assert reference_frame(lambda t: np.full((4, 4), [0, 0, 0, 0, 0, 0.4][t]), 6) == 5


def test_the_background_is_followed(sample: Sample, sample_clip: Clip) -> None:
    depths = [depth_of(sample_clip.mask("foreground", t)) for t in range(12)]
    track = chain_background(sample_clip, lambda t: background_weight([depths[t]], depths[t].shape))
    np.testing.assert_allclose(track.base[6], np.eye(3))
    for frame in (3, 9):
        assert np.median(truth_missed(sample, "background", track, 6, frame)) < 1.1


def test_a_turning_object_is_followed(sample: Sample, sample_clip: Clip) -> None:
    """The person walks, sways and leans: it starts close enough for registration, whose flow finds a few pixels."""
    weights = [object_weight(depth_of(sample_clip.mask("foreground", t))) for t in range(12)]
    track = chain_object(sample_clip, lambda t: weights[t], 6)
    np.testing.assert_allclose(track.base[6], np.eye(3))
    assert np.abs(track.offset[6]).max() == 0
    for frame in (0, 3, 9, 11):
        missed = truth_missed(sample, "foreground", track, 6, frame)
        assert len(missed) > 800
        assert np.median(missed) < 0.25 * abs(frame - 6) and np.quantile(missed, 0.9) < 0.5 * abs(frame - 6)


def test_an_object_that_was_away_is_found_again(sample: Sample, sample_clip: Clip) -> None:
    weights = [object_weight(depth_of(sample_clip.mask("foreground", t))) for t in range(12)]
    track = chain_object(sample_clip, lambda t: weights[t] * (t not in (2, 3, 6, 7, 8)), 5)
    for frame in (0, 1, 9, 11):
        missed = truth_missed(sample, "foreground", track, 5, frame)
        assert np.median(missed) < 1.5 and np.quantile(missed, 0.9) < 3


def test_an_object_out_of_sight_stays_where_it_was(sample_clip: Clip) -> None:
    weights = [object_weight(depth_of(sample_clip.mask("foreground", t))) for t in range(12)]
    track = chain_object(sample_clip, lambda t: weights[t] * (t < 9), 6)
    for frame in (9, 10, 11):
        np.testing.assert_array_equal(track.base[frame], track.base[8])
        np.testing.assert_array_equal(track.offset[frame], track.offset[8])


def test_an_object_without_any_texture_goes_where_its_flow_goes(tmp_path: Path) -> None:
    """A black silhouette has no edges inside, to the bit: what flow says of it counts all the same."""
    steps = 4
    rough = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (128, 192, 3)).astype(np.float32), (0, 0), 2)
    ground = np.clip(4 * (rough - rough.mean()) + 120, 0, 255).astype(np.uint8)
    inside = [cv2.circle(np.zeros((128, 192), np.uint8), (60 + 3 * t, 64), 22, 1, -1) for t in range(steps)]
    frames = [np.where(one[..., None] > 0, np.uint8(0), ground) for one in inside]
    layers = ["foreground", BACKGROUND]
    clip = Clip(tmp_path, "disc", steps, 192, 128, 24.0, layers, Source("disc.mp4", "", 192, 128, 0, list(range(steps)), 24.0))
    writer = ClipWriter(clip, quiet=True)
    writer.write_frames(iter(frames))
    writer.write_flow()
    track = chain_object(clip, lambda t: inside[t].astype(np.float32), 0)
    for t in range(1, steps):
        centre = np.array([[[60 + 3 * t, 64]]], np.float32)
        assert np.abs(track.at(t, centre) - [60, 64]).max() < 1.3 * t, "its flow is a guess inside, but better than none"
