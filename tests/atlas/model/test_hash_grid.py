"""Hash grid: layout and values against a plain loop, gradients, and tiny-cuda-nn where it is there."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.model.hash_grid import HashGrid, HashGridConfig, levels_of

CONFIGS = [
    HashGridConfig(),
    HashGridConfig(levels=16, features=2, log2_entries=15, base=16, growth=1.25),  # Hashing-NVD's
    HashGridConfig(levels=5, features=1, log2_entries=6, base=3, growth=1.7),  # hashed from the second level on
    HashGridConfig(levels=3, features=4, log2_entries=4, base=1, growth=2.0),  # a level of one vertex
    HashGridConfig(levels=4, features=8, log2_entries=20, base=5, growth=1.3),  # dense throughout
    HashGridConfig(levels=2, features=2, log2_entries=0, base=2, growth=1.0),  # one entry for all
    HashGridConfig(levels=6, features=2, log2_entries=8, base=1000, growth=4.0),  # vertices^D beyond 32 bits
]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def points(dimensions: int, count: int = 40) -> Tensor:
    inside = torch.rand(count, dimensions, generator=generator())
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * dimensions)
    borders = inside[:8].clone()
    borders[torch.arange(8), torch.arange(8) % dimensions] = (torch.arange(8) % 2).float()
    vertices = torch.full((1, dimensions), 0.5)
    return torch.cat([inside, corners, borders, vertices])


def grid(config: HashGridConfig, dimensions: int) -> HashGrid:
    made = HashGrid(config, dimensions, generator(), "torch")
    with torch.no_grad():
        made.params.normal_(generator=generator())
    return made


def plain(config: HashGridConfig, points: np.ndarray, params: np.ndarray) -> np.ndarray:
    """The definition, one corner at a time, in whole numbers; positions rounded once, to float32."""
    dimensions, primes = points.shape[1], [1, 2654435761, 805459861]
    result = np.zeros((len(points), config.levels * config.features))
    offset = 0
    for level in range(config.levels):
        exponent = np.float32(level) * np.float32(math.log2(float(np.float32(config.growth))))
        scale = np.float32(2.0 ** float(exponent)) * np.float32(config.base) - np.float32(1)
        vertices = math.ceil(float(scale)) + 1
        entries = min(math.ceil(vertices**dimensions / 8) * 8, 2**config.log2_entries)
        for n, point in enumerate(points):
            position = [np.float32(float(x) * float(scale) + 0.5) for x in point]
            for number in range(2**dimensions):
                bits = [number >> axis & 1 for axis in range(dimensions)]
                corner = [math.floor(p) + bit for p, bit in zip(position, bits, strict=True)]
                share = 1.0
                for p, bit in zip(position, bits, strict=True):
                    part = float(p) - math.floor(p)
                    share *= part if bit else 1 - part
                if vertices**dimensions <= entries:
                    index = sum(c * vertices**axis for axis, c in enumerate(corner))
                else:
                    index = 0
                    for c, prime in zip(corner, primes, strict=False):
                        index ^= c * prime % 2**32
                start = (offset + index % entries) * config.features
                for feature in range(config.features):
                    result[n, level * config.features + feature] += share * params[start + feature]
        offset += entries
    assert offset * config.features == len(params)
    return result


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("config", CONFIGS)
def test_it_agrees_with_a_plain_loop(config: HashGridConfig, dimensions: int) -> None:
    made, where = grid(config, dimensions), points(dimensions)
    expected = plain(config, where.numpy(), made.params.detach().numpy())
    found = made(where)
    assert found.shape == (len(where), made.outputs)
    assert found.dtype == torch.float32
    # Sums of eight float32 products of size 1 to 3; weights are exact.
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6, rtol=0)


def test_the_layout_of_known_levels() -> None:
    """Worked by hand: 2 -> 4 -> 8 -> 16 vertices in 3D, of which 8 and 64 fit 2^8 entries and 512 does not."""
    levels = levels_of(HashGridConfig(levels=4, features=2, log2_entries=8, base=2, growth=2.0), 3)
    assert [level.vertices for level in levels] == [2, 4, 8, 16]
    assert [level.scale for level in levels] == [1.0, 3.0, 7.0, 15.0]
    assert [level.entries for level in levels] == [8, 64, 256, 256]
    assert [level.offset for level in levels] == [0, 8, 72, 328]
    assert [level.hashed for level in levels] == [False, False, True, True]
    # 3^3 = 27 is rounded up to 32; 5 x 5 = 25 to 32 as well.
    assert levels_of(HashGridConfig(levels=1, base=3), 3)[0].entries == 32
    assert levels_of(HashGridConfig(levels=1, base=5), 2)[0].entries == 32


def test_one_entry_is_found_at_its_vertex() -> None:
    """Base 4 in 2D: scale 3, so x = 1/6 and 1/2 lie on vertices 1 and 2; entry 1 + 2 * 4 = 9."""
    made = HashGrid(HashGridConfig(levels=1, features=2, base=4), 2, generator(), "torch")
    with torch.no_grad():
        made.params.zero_()
        made.params[9 * 2 : 9 * 2 + 2] = torch.tensor([3.0, -5.0])
    found = made(torch.tensor([[1 / 6, 0.5], [1 / 6 + 1 / 6, 0.5], [0.5, 0.5]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, -5.0], [1.5, -2.5], [0.0, 0.0]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients(dimensions: int) -> None:
    config = HashGridConfig(levels=3, features=2, log2_entries=5, base=2, growth=1.9)
    made = grid(config, dimensions).double()
    where = (torch.rand(6, dimensions, generator=generator(), dtype=torch.float64) * 0.8 + 0.1).requires_grad_()

    def features(params: Tensor, where: Tensor) -> Tensor:
        return torch.func.functional_call(made, {"params": params}, (where,))

    assert torch.autograd.gradcheck(features, (made.params, where), eps=1e-7, atol=1e-5)


def test_points_outside_take_the_border() -> None:
    made = grid(HashGridConfig(), 3)
    outside = torch.tensor([[-0.5, 0.3, 2.0], [1.0, 1.2, -7.0]])
    assert made(outside).equal(made(outside.clamp(0, 1)))
    assert made(outside[:0]).shape == (0, made.outputs)


def test_the_start_is_small_and_seeded() -> None:
    first, second = (HashGrid(HashGridConfig(), 3, generator(), "torch").params for _ in range(2))
    assert first.equal(second)
    assert 0.9e-4 < first.abs().max() <= 1e-4


def test_a_checkpoint_is_one_flat_vector() -> None:
    made = grid(CONFIGS[2], 3)
    state = made.state_dict()
    assert list(state) == ["params"]
    assert state["params"].shape == (sum(level.entries for level in made.levels),)
    other = HashGrid(CONFIGS[2], 3, generator(), "auto")
    other.load_state_dict(state)
    assert other(points(3)).equal(made(points(3)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": 3},
        {"levels": 0},
        {"log2_entries": 40},
        {"growth": 0.5},
        {"growth": float("nan")},
        {"base": 0},
        {"levels": 32},
    ],
)
def test_sizes_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="hash grid"):
        HashGridConfig(**wrong)
    with pytest.raises(ValueError, match="dimensions"):
        HashGrid(HashGridConfig(), 4, generator())


def tiny_cuda_nn_is_missing() -> str:
    try:
        importlib.import_module("tinycudann")
    except (ImportError, OSError, NameError) as problem:
        return (str(problem).splitlines() or [type(problem).__name__])[0]
    return ""


MISSING = tiny_cuda_nn_is_missing()


@pytest.mark.skipif(not MISSING, reason="tiny-cuda-nn is here")
def test_asking_for_a_missing_tiny_cuda_nn_is_an_error_of_one_line() -> None:
    with pytest.raises(UserError, match="tiny-cuda-nn cannot be used here") as caught:
        HashGrid(HashGridConfig(), 3, generator(), "tcnn")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(bool(MISSING), reason=f"needs a GPU and tiny-cuda-nn ({MISSING})")
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("config", CONFIGS[:5])
def test_tiny_cuda_nn_gives_the_same(config: HashGridConfig, dimensions: int) -> None:
    """Values, gradients and checkpoints, both ways. Its scale may differ from the host's in the last bit."""
    torch_grid = grid(config, dimensions).cuda()
    native = HashGrid(config, dimensions, generator(), "tcnn").cuda()
    assert list(native.state_dict()) == ["params"]
    native.load_state_dict(torch_grid.state_dict())
    found = {}
    for name, made in (("torch", torch_grid), ("tcnn", native)):
        where = points(dimensions).cuda().requires_grad_()
        features = made(where)
        features.square().sum().backward()
        found[name] = (features, made.params.grad)
    tolerance = 1e-6 * max(level.scale for level in torch_grid.levels) + 1e-5
    for ours, theirs in zip(found["torch"], found["tcnn"], strict=True):
        assert ours.dtype == theirs.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=10 * tolerance, rtol=1e-4)
    back = HashGrid(config, dimensions, generator(), "torch")
    back.load_state_dict({name: value.cpu() for name, value in native.state_dict().items()})
    assert back.params.equal(torch_grid.params.cpu())
