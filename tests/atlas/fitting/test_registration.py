"""Registration: tracks that are off come back to the truth of the sample; what is not seen is left alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from atlas.fitting.data import Look
from atlas.fitting.registration import Canvas, View, average, canvas_of, register_round, splat_to_canvas
from atlas.fitting.tracking import Track
from atlas.geometry.evidence import texture_without_light
from atlas.sample.scene import Sample

ALL = (slice(None), slice(None))
ROUNDS = (8.0, 4.0, 2.5, 2.5)


def true_track(sample: Sample, layer: str) -> Track:
    """The truth as a track: the atlas, at about a texel per pixel, is the reference view."""
    count, height, width = sample.frames.shape[:3]
    track = Track.identity(count, height, width)
    scale = len(sample.atlases[layer]) / 2 / 1.35
    gh, gw = track.grid_size
    for t in range(count):
        places = cv2.resize(sample.uvs[layer][t] * scale, (gw, gh), interpolation=cv2.INTER_AREA)
        track.offset[t] = places - track.nodes()
    return track


def looks_of(sample: Sample, layer: str) -> Callable[[int], Look | None]:
    def look(t: int) -> Look | None:
        weight = cv2.erode((sample.opacities[layer][t] > 0.99).astype(np.float32), np.ones((3, 3)))
        return Look((slice(0, 64), slice(0, 96)), sample.frames[t].astype(np.float32) / 255, weight)

    return look


def disturbed(track: Track, pixels: float) -> Track:
    """Every frame with a smooth error of its own: a shift and a slow wave of some pixels."""
    generator = np.random.default_rng(3)
    result = Track(track.base, track.offset.copy(), track.height, track.width)
    x, y = np.moveaxis(track.nodes(), -1, 0)
    for t in range(len(track.base)):
        for axis in (0, 1):
            phase, shift = generator.uniform(0, 6), generator.uniform(-0.5, 0.5)
            result.offset[t, ..., axis] += pixels * (shift + 0.7 * np.sin(x / 25 + y / 31 + phase))
    return result


def disagreement(track: Track, truth: Track, looks: Callable[[int], Look | None]) -> np.ndarray:
    """Pixels by which frames differ in where they put the same point. What they share is the atlas's own shape: no error."""
    canvas = canvas_of(truth, looks)
    errors, total = [], np.zeros((3, canvas.height, canvas.width), np.float32)
    for t in range(len(track.base)):
        look = looks(t)
        assert look is not None
        right, error = truth.dense(t, ALL), track.dense(t, ALL) - truth.dense(t, ALL)
        ((rows, columns), of_x), (_, of_y) = (splat_to_canvas(error[..., i], right, look.weight, canvas) for i in (0, 1))
        total[:, rows, columns] += np.stack([of_x[0], of_y[0], of_x[1]])
        errors.append((right, error, look.weight > 0.5))
    shared = np.dstack([total[i] / np.maximum(total[2], 1e-6) for i in (0, 1)])
    result = []
    for right, error, inside in errors:
        column, row = canvas.texels(right)
        often = cv2.remap(total[2], column, row, cv2.INTER_LINEAR) > 4
        own = error - cv2.remap(shared, column, row, cv2.INTER_LINEAR)
        result.append(np.linalg.norm(own, axis=-1)[inside & often])
    return np.concatenate(result)


@pytest.mark.parametrize(("layer", "pixels"), [("foreground", 1.5), ("background", 1.5)])
def test_a_disturbed_track_comes_back(sample: Sample, layer: str, pixels: float) -> None:
    looks, truth = looks_of(sample, layer), true_track(sample, layer)
    track = disturbed(truth, pixels)
    before = disagreement(track, truth, looks)
    assert np.median(before) > 0.8
    for sigma in ROUNDS:
        track = register_round(track, looks, sigma, elastic=layer == "foreground")
    after = disagreement(track, truth, looks)
    assert np.median(after) < 0.15 and np.quantile(after, 0.9) < 0.4


def test_the_truth_stays(sample: Sample) -> None:
    looks, truth = looks_of(sample, "foreground"), true_track(sample, "foreground")
    after = disagreement(register_round(truth, looks, 4.0, elastic=True), truth, looks)
    assert np.median(after) < 0.1 and np.quantile(after, 0.9) < 0.3


def test_frames_that_do_not_show_the_layer_are_left_alone(sample: Sample) -> None:
    looks, track = looks_of(sample, "foreground"), disturbed(true_track(sample, "foreground"), 1.0)
    result = register_round(track, lambda t: None if t in (0, 7) else looks(t), 4.0, elastic=True)
    for t in range(12):
        assert (result.offset[t] == track.offset[t]).all() == (t in (0, 7))
    result = register_round(track, lambda t: None, 4.0, elastic=True)
    np.testing.assert_array_equal(result.offset, track.offset)
    assert canvas_of(track, lambda t: None) == Canvas(0, 0, 8, 8)


def test_a_layer_seen_once_is_left_alone(sample: Sample) -> None:
    """With nothing to agree with, there is nothing to correct."""
    looks, track = looks_of(sample, "foreground"), true_track(sample, "foreground")
    result = register_round(track, lambda t: looks(t) if t == 5 else None, 4.0, elastic=True)
    np.testing.assert_array_equal(result.offset, track.offset)


def test_the_same_input_gives_the_same_bytes(sample: Sample) -> None:
    looks, track = looks_of(sample, "foreground"), disturbed(true_track(sample, "foreground"), 1.0)
    first, second = (register_round(track, looks, 4.0, elastic=True).offset for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_canvas_holds_what_is_visible(sample: Sample) -> None:
    looks, track = looks_of(sample, "foreground"), true_track(sample, "foreground")
    canvas = canvas_of(track, looks)
    for t in range(12):
        look = looks(t)
        assert look is not None
        column, row = canvas.texels(track.dense(t, ALL)[look.weight > 0.25])
        assert column.min() > 0 and row.min() > 0 and column.max() < canvas.width - 1 and row.max() < canvas.height - 1
    stray = Track(track.base, track.offset * 1e4, 64, 96)
    assert max(canvas_of(stray, looks).width, canvas_of(stray, looks).height) <= 4096


def test_the_average_of_one_frame_is_that_frame(sample: Sample) -> None:
    track = Track.identity(1, 64, 96)
    look = Look((slice(0, 64), slice(0, 96)), sample.frames[0].astype(np.float32) / 255, np.ones((64, 96), np.float32))
    mean, weight = average(track, lambda t: View.of(look), Canvas(0, 0, 96, 64))
    np.testing.assert_allclose(mean[:-1, :-1], texture_without_light(look.colour, look.weight)[:-1, :-1], atol=1e-5)
    np.testing.assert_allclose(weight[:-1, :-1], 1, atol=1e-5)  # places are rounded as uv are


def test_a_splat_keeps_sums_and_drops_what_is_outside() -> None:
    generator = np.random.default_rng(0)
    positions = generator.uniform(2, 17, (10, 12, 2)).astype(np.float32)
    values, weight = generator.normal(size=(10, 12)).astype(np.float32), generator.uniform(0, 1, (10, 12)).astype(np.float32)
    (rows, columns), total = splat_to_canvas(values, positions, weight, Canvas(1, 1, 20, 20))
    assert total[0].sum() == pytest.approx((values * weight).sum(), abs=1e-3) and total[1].sum() == pytest.approx(weight.sum())
    assert total.shape[1:] == (rows.stop - rows.start, columns.stop - columns.start) and rows.stop <= 20 and columns.stop <= 20
    assert splat_to_canvas(values, positions + 100, weight, Canvas(1, 1, 20, 20))[1].size == 0


def test_light_leaves_the_texture_as_it_is(sample: Sample) -> None:
    """A dimmer half does not move: registration sees the same texture under both lights."""
    image, inside = sample.frames[5].astype(np.float32) / 255, np.ones((64, 96), np.float32)
    dimmed = image * np.linspace(0.5, 0.9, 96, dtype=np.float32)[None, :, None]
    one, other = texture_without_light(image, inside), texture_without_light(dimmed, inside)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95
    assert np.abs(one - other).mean() < 0.25
