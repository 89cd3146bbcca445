"""What a fit reads: patches of the clip's own pixels, and where the flow takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.data import Batch, FitData
from atlas.masks.depth import depth_of
from atlas.sample.scene import Sample
from atlas.storage.images import write_image

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(sample_clip_two: Clip, tmp_path_factory: pytest.TempPathFactory) -> FitData:
    folder = tmp_path_factory.mktemp("data")
    FitData.write(sample_clip_two, folder, quiet=True)
    return FitData(sample_clip_two, folder)


def pixels(xyt: torch.Tensor) -> np.ndarray:  # (N, 3) -> x, y, frame in pixels of 12 frames of 96x64
    x, y, t = xyt.numpy().astype(np.float64).T
    return np.stack([x * 48 + 47.5, y * 48 + 31.5, (t + 1) / 2 * 11], -1)


def batch(data: FitData, seed: int = 0, patches: int = 40) -> Batch:
    return data.batch(patches, 8, np.random.default_rng(seed), CPU)


def test_frames_and_depths_come_back(data: FitData, sample_two: Sample) -> None:
    np.testing.assert_allclose(data.colour(5) * 255, sample_two.frames[5], atol=1e-3)
    for i, layer in enumerate(sample_two.objects):
        np.testing.assert_allclose(data.depth(5)[i], depth_of(sample_two.masks(layer)[5]), atol=1 / 16 + 1e-6)


def test_patches_hold_the_pixels_of_the_frames(data: FitData, sample_two: Sample) -> None:
    found = batch(data)
    place = pixels(found.xyt)
    np.testing.assert_allclose(place, np.round(place), atol=1e-3)
    x, y, t = np.round(place).astype(int).T
    np.testing.assert_allclose(found.colour.reshape(-1, 3).numpy() * 255, sample_two.frames[t, y, x], atol=1e-3)
    for i in (0, 1):
        depths = np.stack([data.depth(frame)[i] for frame in range(12)])
        np.testing.assert_array_equal(found.depth[i].numpy(), depths[t, y, x])
    # Squares of neighbours within one frame, row by row.
    square = np.round(place).astype(int).reshape(40, 8, 8, 3)
    assert (np.diff(square, axis=2) == (1, 0, 0)).all() and (np.diff(square, axis=1) == (0, 1, 0)).all()


def test_moved_points_follow_the_flow(data: FitData, sample_clip_two: Clip) -> None:
    found = batch(data)
    start, end = pixels(found.xyt)[found.moved_index.numpy()], pixels(found.moved)
    assert len(end) == len(found.xyt) // 2
    step = np.round(end[:, 2] - start[:, 2]).astype(int)
    assert set(step) == {-1, 1} and end[:, 2].min() > -0.01 and end[:, 2].max() < 11.01
    x, y, t = np.round(start).astype(int).T
    for sign, direction in ((1, "forward"), (-1, "backward")):
        chosen = step == sign
        index = t[chosen] - (sign < 0)
        flow = sample_clip_two.flow(direction)[index, y[chosen], x[chosen]].astype(np.float64)
        np.testing.assert_allclose((end - start)[chosen, :2], flow, atol=0.01)
        valid = sample_clip_two.flow_validity(direction)[index, y[chosen], x[chosen]]
        np.testing.assert_array_equal(found.moved_valid.numpy()[chosen], valid)


def test_moved_depth_is_that_of_the_other_frame(data: FitData) -> None:
    found = batch(data)
    end = pixels(found.moved)
    near = np.clip(np.round(end[:, :2]), 0, (95, 63)).astype(int)
    frame = np.round(end[:, 2]).astype(int)
    depths = np.stack([data.depth(t) for t in range(12)])
    nearest = depths[frame, :, near[:, 1], near[:, 0]].T
    assert np.quantile(np.abs(found.moved_depth.numpy() - nearest), 0.95) < 1


def test_half_of_the_patches_lie_around_objects(data: FitData, sample_two: Sample) -> None:
    found = batch(data, patches=400)
    share = (found.depth.max(0).values.reshape(400, -1) > -12).float().mean(1)
    assert (share[::2] > 0).float().mean() > 0.9
    assert (found.depth.max(0).values > 0).float().mean() > (sample_two.opacities["background"] < 0.5).mean()


def test_the_seed_decides(data: FitData) -> None:
    first, same, other = batch(data, 1), batch(data, 1), batch(data, 2)
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(same, name))
    assert not torch.equal(first.xyt, other.xyt)


def test_a_patch_as_large_as_the_frame(data: FitData) -> None:
    found = data.batch(6, 64, np.random.default_rng(0), CPU)
    y = pixels(found.xyt)[:, 1].reshape(6, 64, 64)
    np.testing.assert_allclose(y[:, :, 0], np.tile(np.arange(64), (6, 1)), atol=1e-3)


def test_weights_of_layers_do_not_overlap(data: FitData) -> None:
    for t in (0, 5, 11):
        total = sum(data.weight(layer, t) for layer in range(3))
        assert total.min() >= 0 and total.max() <= 1


def test_a_look_is_the_layer_with_a_margin(data: FitData, sample_two: Sample) -> None:
    for t in (2, 8):
        look = data.look(0, t)
        assert look is not None
        whole = np.zeros((64, 96), np.float32)
        whole[look.box] = look.weight
        np.testing.assert_array_equal(whole, data.weight(0, t))
        np.testing.assert_allclose(look.colour * 255, sample_two.frames[t][look.box], atol=1e-3)
        assert look.colour.shape[:2] == look.weight.shape


def test_a_layer_that_is_not_there_has_no_look(fresh_clip: Clip, tmp_path: Path) -> None:
    write_image(fresh_clip.mask_path("foreground", 3), np.zeros((64, 96), np.uint8))
    write_image(fresh_clip.mask_path("foreground", 4), np.full((64, 96), 255, np.uint8))
    FitData.write(fresh_clip, tmp_path, quiet=True)
    data = FitData(fresh_clip, tmp_path)
    assert data.look(0, 3) is None and data.look(1, 4) is None
    assert data.look(0, 4) is not None and data.look(1, 3) is not None
    found = data.batch(200, 8, np.random.default_rng(0), CPU)
    assert torch.isfinite(found.moved).all() and torch.isfinite(found.moved_depth).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_flow_that_is_no_number_is_refused(value: float, fresh_clip: Clip, tmp_path: Path) -> None:
    for way in ("forward", "backward"):
        flow = np.load(fresh_clip.folder / "flow" / f"{way}.npy")
        np.save(fresh_clip.folder / "flow" / f"{way}.npy", np.full_like(flow, value))
    FitData.write(fresh_clip, tmp_path, quiet=True)
    with pytest.raises(UserError, match="flow holds what is no number"):
        batch(FitData(fresh_clip, tmp_path))
