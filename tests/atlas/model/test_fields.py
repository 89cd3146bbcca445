"""Fields: untrained networks change nothing, and whole frames agree with lone points."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atlas.geometry.warp import frame_time, pixel_grid
from atlas.model.fields import (
    BAND,
    Correction,
    Light,
    Mapping,
    NetworkConfig,
    Opacity,
    frequency_encoding,
    has_bf16,
    project,
    sample_grid,
)
from atlas.model.hash_grid import HashGridConfig

SIZES = [(64, 96), (67, 41), (35, 50)]
CONFIG = NetworkConfig(width=32, octaves=3, reach=0.05)
HASH = NetworkConfig("hash", width=32, reach=0.05, hash=HashGridConfig(levels=4, log2_entries=9, base=4))
NONE = NetworkConfig("none")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def half(height: int, width: int) -> tuple[float, float]:
    return width / max(height, width), height / max(height, width)


def points(count: int = 200) -> Tensor:
    return torch.rand(count, 3, generator=generator()) * 2 - 1


def frame_points(index: int, frames: int, height: int, width: int) -> Tensor:
    xy = pixel_grid(height, width).reshape(-1, 2)
    return torch.cat([xy, torch.full((len(xy), 1), float(frame_time(index, frames)))], 1)


def trained(module: Correction) -> None:
    """Give the last layer weights, as training would."""
    with torch.no_grad():
        module.layers[-1].weight.normal_(0, 0.3, generator=generator())
        module.layers[-1].bias.fill_(0.1)


def mapping(height: int, width: int, frames: int = 5, config: NetworkConfig = CONFIG) -> Mapping:
    base = torch.eye(3).repeat(frames, 1, 1) + torch.randn(frames, 3, 3, generator=generator()) * 0.02
    rows, columns = -(-height // 4), -(-width // 4)
    offset = torch.randn(2, frames, rows, columns, generator=generator()) * 0.05
    return Mapping(base, offset, half(height, width), config, generator())


def test_frequency_encoding() -> None:
    found = frequency_encoding(torch.tensor([[0.5, -0.25]]), 2)
    angles = [math.pi * 0.5, math.pi, -math.pi * 0.25, -math.pi * 0.5]
    expected = [0.5, -0.25, *[math.sin(a) for a in angles], *[math.cos(a) for a in angles]]
    torch.testing.assert_close(found, torch.tensor([expected]), atol=1e-6, rtol=0)
    assert frequency_encoding(points(), 0).equal(points())


@pytest.mark.parametrize("config", [CONFIG, HASH])
def test_an_untrained_network_is_exactly_zero(config: NetworkConfig) -> None:
    network = Correction(config, 2, generator())
    assert (network(points()) == 0).all()
    network(points()).sum().backward()
    assert network.layers[-1].weight.grad.abs().sum() > 0, "it must be able to learn from there"


@pytest.mark.parametrize("config", [CONFIG, HASH])
def test_the_seed_decides_a_network(config: NetworkConfig) -> None:
    first, same = (Correction(config, 2, generator()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    other = Correction(config, 2, torch.Generator().manual_seed(1)).state_dict()
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_a_hash_grid_is_one_of_the_parameters() -> None:
    network = Correction(HASH, 2, generator())
    trained(network)
    assert network.grid is not None
    (gradient,) = torch.autograd.grad(network(points()).square().sum(), network.grid.params)
    assert gradient.abs().sum() > 0
    assert network.state_dict()["grid.params"].shape == network.grid.params.shape
    assert network.layers[0].in_features == 3 + 4 * 2


def test_without_a_network_the_control_grids_are_the_mapping() -> None:
    network = Correction(NONE, 2, generator())
    assert network(points()).equal(torch.zeros(200, 2)) and not list(network.parameters())
    field = mapping(64, 96, config=NONE)
    assert field(points()).equal(field.start(points()))
    assert [name for name, _ in field.named_parameters()] == ["offset"]
    torch.testing.assert_close(field.at_frame(2, 64, 96).reshape(-1, 2), field(frame_points(2, 5, 64, 96)), atol=1e-5, rtol=0)


@pytest.mark.skipif(not has_bf16(), reason="this CPU has no units for bfloat16")
@pytest.mark.parametrize("config", [CONFIG, HASH])
def test_bfloat16_changes_a_correction_by_a_hundredth_of_it_at_most(config: NetworkConfig) -> None:
    exact, fast = (Correction(replace(config, bf16=bf16), 2, generator()) for bf16 in (False, True))
    trained(exact)
    fast.load_state_dict(exact.state_dict())
    expected, found = exact(points()), fast(points())
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.01 * expected.abs().max()
    found.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in fast.parameters())


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="no encoding"):
        NetworkConfig("waves")  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_grid_is_exact_at_its_nodes_and_linear_between_frames(height: int, width: int) -> None:
    frames, rows, columns = 4, 7, 5
    grid = torch.randn(3, frames, rows, columns, generator=generator())
    right, bottom = half(height, width)
    x = ((torch.arange(columns) + 0.5) / columns * 2 - 1) * right
    y = ((torch.arange(rows) + 0.5) / rows * 2 - 1) * bottom
    nodes = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)

    def at(t: float) -> Tensor:
        xyt = torch.cat([nodes, torch.full((len(nodes), 1), t)], 1)
        return sample_grid(grid, xyt, (right, bottom)).T.reshape(3, rows, columns)

    for index in range(frames):
        torch.testing.assert_close(at(float(frame_time(index, frames))), grid[:, index], atol=2e-5, rtol=0)
    between = (frame_time(1, frames) + frame_time(2, frames)) / 2
    torch.testing.assert_close(at(float(between)), (grid[:, 1] + grid[:, 2]) / 2, atol=2e-5, rtol=0)


def test_homographies_move_points() -> None:
    matrix = torch.tensor([[2.0, 0, 1], [0, 1, 0], [0, 0.5, 1]])
    torch.testing.assert_close(project(matrix, torch.tensor([[1.0, 2.0]])), torch.tensor([[1.5, 1.0]]))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_mapping_at_a_frame_is_the_mapping_at_its_pixels(height: int, width: int) -> None:
    field = mapping(height, width)
    for index in (0, 2, 4):
        torch.testing.assert_close(
            field.at_frame(index, height, width).reshape(-1, 2),
            field(frame_points(index, 5, height, width)),
            atol=1e-5,
            rtol=0,
        )


def test_a_trained_mapping_at_a_frame_loses_little() -> None:
    """Interpolating between the grid's nodes: small against the correction itself."""
    field = mapping(200, 320)
    trained(field.correction)
    with torch.no_grad():
        place = frame_points(3, 5, 200, 320)
        error = field.at_frame(3, 200, 320).reshape(-1, 2) - field(place)
        assert error.abs().mean() < 0.02 * field.correction(place).abs().mean()


def test_a_mapping_at_twice_the_size_is_the_same_mapping() -> None:
    field = mapping(64, 96)
    small, large = field.at_frame(1, 64, 96), field.at_frame(1, 128, 192)
    blocks = large.reshape(64, 2, 96, 2, 2).mean((1, 3))
    torch.testing.assert_close(blocks[4:-4, 4:-4], small[4:-4, 4:-4], atol=6e-3, rtol=0)


def test_a_mapping_between_frames_lies_between() -> None:
    field = mapping(64, 96)
    place = frame_points(1, 5, 64, 96)
    place[:, 2] = (frame_time(1, 5) + frame_time(2, 5)) / 2
    ends = [field(frame_points(i, 5, 64, 96)) for i in (1, 2)]
    torch.testing.assert_close(field(place), (ends[0] + ends[1]) / 2, atol=1e-5, rtol=0)


def test_opacity_starts_from_the_mask() -> None:
    field = Opacity(CONFIG, generator())
    depth = torch.linspace(-15, 15, 200)
    found = field(points(), depth)
    torch.testing.assert_close(found, torch.sigmoid(2 * depth), atol=1e-6, rtol=0)
    assert (found.diff() >= 0).all()


def test_opacity_at_a_frame_agrees_near_the_outline_and_is_sure_away_from_it() -> None:
    field = Opacity(CONFIG, generator())
    trained(field.correction)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    depth = (x - 30).clamp(-15, 15)
    found = field.at_frame(2, 5, depth)
    near = depth.abs() < BAND
    exact = field(frame_points(2, 5, 48, 64), depth.reshape(-1)).reshape(48, 64)
    torch.testing.assert_close(found[near], exact[near], atol=1e-5, rtol=0)
    assert (found[~near & (depth > 0)] == 1).all() and (found[~near & (depth < 0)] == 0).all()


def test_light_is_the_gain_of_its_grid() -> None:
    gain = torch.tensor([0.8, 1.0, 1.25])
    light = Light(gain.log()[:, None, None, None].expand(3, 4, 5, 6).clone(), (1.0, 0.7))
    torch.testing.assert_close(light(points()), gain.expand(200, 3), atol=1e-5, rtol=0)
