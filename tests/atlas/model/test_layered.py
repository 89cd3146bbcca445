"""LayeredAtlas: layers over each other, and a mapping that starts as the registered track."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.fitting.registration import Canvas, start_from_track
from atlas.fitting.tracking import Track
from atlas.geometry.homography import pixel_positions
from atlas.geometry.warp import frame_time, pixel_grid, sample
from atlas.model.fields import NetworkConfig
from atlas.model.layered import LayeredAtlas, Shape


def model_of(height: int, width: int, objects: int = 1, frames: int = 3, size: int = 40) -> LayeredAtlas:
    layers = (*(f"foreground-{i + 1}" for i in range(objects)), "background")
    grid = (-(-height // 4), -(-width // 4))
    shape = Shape(layers, frames, height, width, grid, (3, 4), (size,) * len(layers))
    config = NetworkConfig(width=16, octaves=2)
    return LayeredAtlas(shape, config, config, torch.Generator().manual_seed(0))


def test_a_nearer_object_hides_a_farther_one() -> None:
    model = model_of(48, 64, objects=2)
    for layer, colour in enumerate(((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))):
        model.atlas(layer).copy_(torch.tensor(colour).expand(40, 40, 3))
    # Points: in the first alone, in both, in the second alone, in neither, on both outlines.
    depth = torch.tensor([[15.0, 15, -15, -15, 0], [-15.0, 15, 15, -15, 0]])
    view = model(torch.zeros(5, 3), depth)
    expected = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25]])
    torch.testing.assert_close(view.colour, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(view.opacity.T, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(view.object_opacity[:, 4], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(view.light, torch.ones(3, 5, 3))


def test_light_multiplies_the_atlas() -> None:
    model = model_of(48, 64)
    model.atlas(0).fill_(0.5)
    model.lights[0].log_gain.fill_(float(np.log(1.4)))
    view = model(torch.zeros(1, 3), torch.full((1, 1), 15.0))
    torch.testing.assert_close(view.colour, torch.full((1, 3), 0.7), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (67, 41), (35, 50)])
@pytest.mark.parametrize("canvas", [Canvas(-7.5, -3.25, 80, 50), Canvas(2.0, -10.0, 33, 91)])
def test_a_model_starts_as_the_track(height: int, width: int, canvas: Canvas) -> None:
    generator = np.random.default_rng(0)
    track = Track.identity(3, height, width)
    track.base += generator.normal(0, 1, track.base.shape) * np.array([[0.05, 0.05, 5], [0.05, 0.05, 5], [1e-4, 1e-4, 0]])
    track.offset += generator.normal(0, 0.5, track.offset.shape).astype(np.float32)
    model = model_of(height, width, size=max(canvas.width, canvas.height))
    start_from_track(model, 0, track, canvas)
    side = max(canvas.width, canvas.height)
    for frame in range(3):
        uv = model.mappings[0].at_frame(frame, height, width).detach().numpy()
        column, row = canvas.texels(track.dense(frame, (slice(None), slice(None))))
        # The canvas lies in the middle of the square.
        np.testing.assert_allclose((uv[..., 0] + 1) / 2 * side - 0.5, column + (side - canvas.width) / 2, atol=0.01)
        np.testing.assert_allclose((uv[..., 1] + 1) / 2 * side - 0.5, row + (side - canvas.height) / 2, atol=0.01)


def test_an_identity_track_puts_a_frame_into_the_atlas() -> None:
    model = model_of(30, 44, size=44)
    start_from_track(model, 1, Track.identity(3, 30, 44), Canvas(0, 0, 44, 30))
    picture = torch.rand(44, 44, 3, generator=torch.Generator().manual_seed(0))
    model.atlas(1).copy_(picture)
    seen = sample(model.atlas(1), model.mappings[1].at_frame(1, 30, 44))
    torch.testing.assert_close(seen, picture[7:37], atol=1e-4, rtol=0)


def test_maps_of_a_frame_are_the_model_at_its_pixels() -> None:
    height, width = 33, 47
    model = model_of(height, width, objects=2)
    x, y = np.moveaxis(pixel_positions(height, width), -1, 0)
    depth = torch.from_numpy(np.stack([x - 20, 15 - y])).clamp(-15, 15)
    uv, opacity = model.frame_maps(1, depth)
    xy = pixel_grid(height, width).reshape(-1, 2)
    view = model(torch.cat([xy, torch.full((len(xy), 1), float(frame_time(1, 3)))], 1), depth.reshape(2, -1))
    torch.testing.assert_close(uv.reshape(3, -1, 2), view.uv.detach().clamp(-1, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(opacity.sum(0), torch.ones(height, width), atol=1e-6, rtol=0)
    torch.testing.assert_close(opacity.reshape(3, -1), view.opacity.detach(), atol=1e-4, rtol=0)


def test_what_learns_and_what_is_saved() -> None:
    model = model_of(48, 64)
    learning = {name for name, _ in model.named_parameters()}
    assert any(name.endswith(".offset") for name in learning)
    assert not any("atlas" in name or "log_gain" in name for name in learning)
    assert {"atlas_0", "coverage_1", "lights.0.log_gain", "mappings.1.base"} <= set(model.state_dict())
