"""LPIPS against the network written down a second time, layer by layer as its package has it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import UserError
from atlas.metrics.lpips import SMALLEST, Lpips
from tests.atlas.metrics.tiny_embeddings import save_lpips

CPU = torch.device("cpu")


def reference(file: Path, image: np.ndarray, other: np.ndarray) -> float:
    weights = load_file(file)
    conv, relu, pool = torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d
    slices = {
        "slice1": {"0": conv(3, 64, 11, 4, 2), "1": relu()},
        "slice2": {"2": pool(3, 2), "3": conv(64, 192, 5, padding=2), "4": relu()},
        "slice3": {"5": pool(3, 2), "6": conv(192, 384, 3, padding=1), "7": relu()},
        "slice4": {"8": conv(384, 256, 3, padding=1), "9": relu()},
        "slice5": {"10": conv(256, 256, 3, padding=1), "11": relu()},
    }
    features = [
        (torch.from_numpy(picture).double().permute(2, 0, 1)[None] / 127.5 - 1 - vector(-0.030, -0.088, -0.188))
        / vector(0.458, 0.448, 0.450)
        for picture in (image, other)
    ]
    total = 0.0
    for number, (name, parts) in enumerate(slices.items()):
        network = torch.nn.Sequential()
        for key, part in parts.items():
            network.add_module(key, part)
        network.load_state_dict({k.removeprefix(f"net.{name}."): v for k, v in weights.items() if k.startswith(f"net.{name}.")})
        with torch.no_grad():
            features = [network.double()(value) for value in features]
        one, two = (value / (torch.linalg.vector_norm(value, dim=1, keepdim=True) + 1e-10) for value in features)
        lin = weights[f"lin{number}.model.1.weight"].double()[0]
        total += float((lin * ((one - two) ** 2)[0]).sum(0).mean())
    return total


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values).double().view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lpips(tmp_path_factory.mktemp("lpips") / "lpips.safetensors")


@pytest.mark.parametrize("size", [(64, 96), (101, 47), (SMALLEST, SMALLEST)])
def test_it_is_the_published_distance(weights: Path, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    other = np.clip(image + random.normal(0, 30, image.shape), 0, 255).astype(np.uint8)
    expected = reference(weights, image, other)
    assert expected > 0.01
    assert Lpips(weights, CPU)(image, other) == pytest.approx(expected, rel=1e-4)


def test_weights_that_are_no_numbers(weights: Path, tmp_path: Path) -> None:
    broken = load_file(weights)
    broken["net.slice2.3.bias"][7] = float("nan")
    save_file(broken, tmp_path / "lpips.safetensors")
    with pytest.raises(UserError, match="lpips.safetensors holds weights that are no numbers"):
        Lpips(tmp_path / "lpips.safetensors", CPU)


def test_known_answers(weights: Path) -> None:
    distance = Lpips(weights, CPU)
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    near, far = (np.clip(image.astype(int) + by, 0, 255).astype(np.uint8) for by in (2, 60))
    assert distance(image, image) == 0 < distance(image, near) < distance(image, far)
    assert distance(image, far) == pytest.approx(distance(far, image), rel=1e-4)
    assert distance(image / 255, far) == pytest.approx(distance(image, far), rel=1e-4)
    small = image[: SMALLEST - 1]
    assert math.isnan(distance(small, small))
