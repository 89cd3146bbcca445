"""The prior's U-Net: its shapes and layers are those that were published, it takes any size, and the seed decides it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from edit.deflicker.video_prior.network import PriorNetwork, doubled


def network(width: int = 4, outputs: int = 3, seed: int = 0) -> PriorNetwork:
    return PriorNetwork(width, outputs, torch.Generator().manual_seed(seed))


def test_layers_are_those_published() -> None:
    made = network(32)
    kernels = {name: layer for name, layer in made.named_modules() if isinstance(layer, nn.Conv2d)}
    shapes = {name: tuple(layer.weight.shape) for name, layer in kernels.items()}
    assert [shapes[f"down.{level}"] for level in range(5)] == [
        (32, 3, 1, 1), (64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3), (512, 256, 3, 3),
    ]  # fmt: skip
    assert [shapes[f"beside.{level}"][:2] for level in range(5)] == [(c, c) for c in (32, 64, 128, 256, 512)]
    assert [shapes[f"halve.{level}"][:2] for level in range(4)] == [(256, 512), (128, 256), (64, 128), (32, 64)]
    assert len(kernels) == 5 + 5 + 3 * 4 + 1
    for layer in kernels.values():
        inputs, outputs, (high, wide) = layer.in_channels, layer.out_channels, layer.kernel_size
        bound = (6 / ((inputs + outputs) * high * wide)) ** 0.5  # Glorot and Bengio 2010, uniform
        assert layer.bias is not None and not layer.bias.any()
        assert layer.weight.abs().max() <= bound and layer.weight.std() > 0.4 * bound


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 112), (5, 40), (1, 1)])
@pytest.mark.parametrize("outputs", [3, 6])
def test_any_size_goes_in_and_comes_out(size: tuple[int, int], outputs: int) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    result = network(outputs=outputs)(images)
    assert result.shape == (2, outputs, *size) and result.isfinite().all()


def test_odd_sizes_see_their_border_repeated() -> None:
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    rows, columns = torch.arange(32).clamp(max=19), torch.arange(32).clamp(max=29)
    made = network()
    assert torch.equal(made(image), made(image[:, :, rows][..., columns])[..., :20, :30])


def test_frames_of_a_batch_do_not_see_each_other() -> None:
    images = torch.rand(3, 3, 32, 16, generator=torch.Generator().manual_seed(2))
    made = network()
    alone = torch.cat([made(image[None]) for image in images])
    assert (made(images) - alone).abs().max() < 1e-6


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (network(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["last.weight"], other["last.weight"])


def test_doubled_is_bilinear() -> None:
    images = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    assert (doubled(images) - expected).abs().max() < 1e-6
    assert torch.equal(doubled(images[..., :1, :1]), images[..., :1, :1].expand(2, 3, 2, 2))
