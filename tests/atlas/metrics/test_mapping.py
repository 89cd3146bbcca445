"""Mapping metrics on mappings whose errors are known."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.geometry.warp import bilinear
from atlas.maps.maps import Maps, MapsWriter
from atlas.metrics.mapping import Inverse, flow_disagreement, mapping_accuracy, open_truth, texels_per_pixel
from atlas.sample.scene import Sample

HEIGHT, WIDTH = 48, 64
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)


def affine(shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A sheared, anisotropic mapping of a frame whose content stands `shift` pixels to the left and above."""
    x, y = X + shift[0], Y + shift[1]
    return np.stack([0.004 * x + 0.001 * y - 0.2, 0.012 * y - 0.3], -1).astype(np.float32)


def constant_flow(x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.array([x, y], np.float32), (HEIGHT, WIDTH, 2))


def test_disagreement_is_in_pixels_of_the_frame() -> None:
    flow = constant_flow(3, -2)
    exact = flow_disagreement(affine(), affine((-3, 2)), EVERYWHERE, EVERYWHERE, flow, EVERYWHERE)
    assert len(exact) > 2000 and exact.max() < 1e-3
    for error in ((0.5, 0.0), (0.0, 0.5), (0.3, -0.4)):  # whatever the shear and the scale
        off = flow_disagreement(
            affine(), affine((-3 + error[0], 2 + error[1])), EVERYWHERE, EVERYWHERE, flow, EVERYWHERE, step=2
        )
        assert np.abs(off - 0.5).max() < 0.005


def test_only_visible_pixels_with_valid_flow_are_asked() -> None:
    flow, wrong = constant_flow(4, 0), affine((9, 9))
    left = X < 30
    following = np.where((X < 34)[..., None], affine((-4, 0)), wrong)
    good = flow_disagreement(np.where(left[..., None], affine(), wrong), following, left, X < 33, flow, EVERYWHERE)
    assert len(good) > 0 and good.max() < 0.01
    assert not len(flow_disagreement(affine(), affine(), ~EVERYWHERE, EVERYWHERE, flow, EVERYWHERE))
    assert not len(flow_disagreement(affine(), affine(), EVERYWHERE, ~EVERYWHERE, flow, EVERYWHERE))
    assert not len(flow_disagreement(affine(), affine(), EVERYWHERE, EVERYWHERE, flow, ~EVERYWHERE))
    assert not len(flow_disagreement(affine(), affine(), EVERYWHERE, EVERYWHERE, constant_flow(WIDTH, 0), EVERYWHERE))


def test_a_collapsed_patch_does_not_make_it_infinite() -> None:
    uv = affine()
    uv[10:20, 10:20] = uv[10, 10]
    found = flow_disagreement(uv, affine((1, 0)), EVERYWHERE, EVERYWHERE, constant_flow(0, 0), EVERYWHERE)
    assert np.isfinite(found).all() and found.max() < 2000 and np.median(found) == pytest.approx(1, abs=0.01)


def test_bilinear_is_exact_between_pixels() -> None:
    points = np.array([[3.0, 4.0], [3.26, 4.71], [0, 0], [WIDTH - 1, HEIGHT - 1], [-5, 200]], np.float32)
    found = bilinear(affine(), points)
    clipped = np.clip(points, 0, [WIDTH - 1, HEIGHT - 1])
    expected = np.stack([0.004 * clipped[:, 0] + 0.001 * clipped[:, 1] - 0.2, 0.012 * clipped[:, 1] - 0.3], -1)
    assert np.abs(found - expected).max() < 1e-6
    assert bilinear(X, points) == pytest.approx(clipped[:, 0], abs=1e-5)


def test_texels_per_pixel() -> None:
    uv = np.stack([X / 100, Y / 400], -1)
    assert texels_per_pixel(uv, EVERYWHERE, 300) == pytest.approx(300 / 2 / 200, rel=1e-4)
    assert np.isnan(texels_per_pixel(uv, ~EVERYWHERE, 300))


def test_the_inverse_of_a_wavy_mapping() -> None:
    def wavy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([x + 3 * np.sin(y / 7), y + 2 * np.cos(x / 9)], -1) / 100

    points = np.random.default_rng(0).uniform([6, 6], [WIDTH - 7, HEIGHT - 7], (500, 2)).astype(np.float32)
    uv = wavy(X, Y).astype(np.float32)
    found, missed = Inverse(uv, EVERYWHERE)(bilinear(uv, points))
    assert np.abs(found - points).max() < 0.01 and missed.max() < 0.01
    _, missed = Inverse(uv, EVERYWHERE)(np.full((3, 2), 9, np.float32))
    assert (missed > 100).all()
    _, missed = Inverse(uv, ~EVERYWHERE)(bilinear(uv, points))
    assert np.isinf(missed).all()


def test_the_inverse_finds_its_way_in_noise_and_folds() -> None:
    uv = affine()
    uv[:, 32:] = uv[:, 31:63][:, ::-1]  # the right half mirrors the left
    points = np.array([[12.0, 20.0], [5.5, 30.25]], np.float32)
    found, missed = Inverse(uv, X < 32)(bilinear(uv, points))
    assert np.abs(found - points).max() < 0.01 and missed.max() < 0.01
    noise = np.random.default_rng(0).uniform(-1, 1, (HEIGHT, WIDTH, 2)).astype(np.float32)
    found, _ = Inverse(noise, EVERYWHERE)(noise[7:9, 9])
    assert np.abs(found - [[9, 7], [9, 8]]).max() < 1e-3


def write_changed(truth: Maps, folder: Path, change: dict[str, np.ndarray], opacity: float = 1.0) -> Maps:
    """The truth with `change` (T, 2) texture coordinates added per frame, and the object's opacity multiplied."""
    shutil.copytree(truth.folder / "layers", folder / "layers")
    writer = MapsWriter(folder, truth.layers, truth.frames, truth.height, truth.width)
    for i in range(truth.frames):
        seen = truth.opacity("foreground", i) * opacity
        uv = {layer: truth.uv(layer, i) + change.get(layer, np.zeros((truth.frames, 2)))[i] for layer in truth.layers}
        writer.append_frame(uv, {"foreground": seen, "background": 1 - seen})
    writer.close()
    return Maps(folder)


def test_the_truth_is_perfect(sample_clip: Clip) -> None:
    truth = Maps(sample_clip.fit_folder("truth"))
    for accuracy in mapping_accuracy(truth, truth).values():
        assert accuracy.points > 5000 and accuracy.opacity_iou == 1
        assert accuracy.median < 1e-3 and accuracy.p90 < 0.01


def test_known_errors_are_found(sample_clip: Clip, sample: Sample, tmp_path: Path) -> None:
    truth = Maps(sample_clip.fit_folder("truth"))
    pixel = np.diff(sample.uvs["background"][5][30, 40:42, 0])[0]  # uv per pixel
    shift = np.zeros((truth.frames, 2))
    shift[1::2, 0] = 0.8 * pixel  # even and odd frames disagree by 0.8 pixels
    maps = write_changed(truth, tmp_path / "fit", {"background": shift}, opacity=0.4)
    found = mapping_accuracy(maps, truth, reach=1)  # neighbours alone: each pair is one of an even and an odd frame
    assert found["background"].median == pytest.approx(0.8, rel=0.15)
    assert found["background"].p90 == pytest.approx(0.8, rel=0.3)
    lost = found["foreground"]
    assert lost.opacity_iou == 0 and lost.median == pytest.approx(np.hypot(truth.width, truth.height))
    assert mapping_accuracy(maps, truth, reach=1) == found, "the same seed, the same numbers"
    assert mapping_accuracy(maps, truth, reach=1, seed=1) != found


def test_a_mapping_that_is_rubbish(sample_clip: Clip, tmp_path: Path) -> None:
    truth = Maps(sample_clip.fit_folder("truth"))
    shift = np.random.default_rng(0).uniform(-0.2, 0.2, (truth.frames, 2))
    maps = write_changed(truth, tmp_path / "fit", {"background": shift})
    assert mapping_accuracy(maps, truth)["background"].median > 3


def test_what_is_no_truth(sample_clip: Clip, sample_clip_two: Clip, tmp_path: Path) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    for of in (maps, sample_clip, None):
        assert open_truth(sample_clip.fit_folder("truth"), of).layers == maps.layers
    with pytest.raises(UserError, match="holds no true maps"):
        open_truth(tmp_path, maps)
    with pytest.raises(UserError, match="has layers .*give the truth of the same clip"):
        open_truth(sample_clip_two.fit_folder("truth"), maps)
