"""Soft edges: against a plain reference on a tiny network, and what files are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage import data

from atlas.errors import UserError
from edit.controls.soft_edges import SoftEdges, check_soft_edges, shapes

TINY = (2, 3, 4, 3, 2)
CPU = torch.device("cpu")


def tiny_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(scale=0.4, size=shape).astype(np.float32) for name, shape in shapes(TINY).items()}
    weights["norm"] = np.array([120, 115, 100], np.float32).reshape(1, 3, 1, 1)
    for block in range(1, 6):  # from grey levels to numbers around 1
        weights[f"block{block}.projection.weight"] /= 60
    return {name: torch.from_numpy(value) for name, value in weights.items()}


def convolved(image: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:  # (C, H, W) -> (O, H, W)
    """Correlation with zeros around, tap by tap."""
    size = weight.shape[-1]
    padded = np.pad(image, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    height, width = image.shape[1:]
    result = np.repeat(bias[:, None, None], height, 1).repeat(width, 2).astype(np.float64)
    for y in range(size):
        for x in range(size):
            result += np.einsum("oc,chw->ohw", weight[:, :, y, x], padded[:, y : y + height, x : x + width])
    return result


def plainly(image: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:  # (H, W)
    """The network step by step: five blocks, halved before each but the first; their outlines resized, averaged, squashed."""
    features, outlines = image.transpose(2, 0, 1) - weights["norm"][0].astype(np.float64), []
    for block, count in zip((1, 2, 3, 4, 5), (2, 2, 3, 3, 3), strict=True):
        if block > 1:
            channels, height, width = features.shape
            features = features.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
        for number in range(count):
            name = f"block{block}.convs.{number}"
            features = np.maximum(convolved(features, weights[f"{name}.weight"], weights[f"{name}.bias"]), 0)
        name = f"block{block}.projection"
        (outline,) = convolved(features, weights[f"{name}.weight"], weights[f"{name}.bias"])
        outlines.append(cv2.resize(outline, image.shape[1::-1], interpolation=cv2.INTER_LINEAR))
    return 1 / (1 + np.exp(-np.mean(outlines, 0)))


@pytest.mark.parametrize("half", [False, True])
def test_edges_are_those_of_a_plain_reference(tmp_path: Path, half: bool) -> None:
    weights = {name: value.half() if half else value for name, value in tiny_weights().items()}
    save_file(weights, tmp_path / "hed.safetensors")
    image = np.ascontiguousarray(data.chelsea()[:64, :96])
    found = SoftEdges(tmp_path / "hed.safetensors", CPU)(image)
    plain = plainly(image, {name: value.float().numpy() for name, value in weights.items()})
    assert found.shape == (64, 96, 3) and found.dtype == np.uint8 and (found == found[..., :1]).all()
    assert plain.std() > 0.03  # it says something
    assert np.abs(found[..., 0] - 255 * plain).max() < 0.51


def test_the_published_network_has_these_tensors() -> None:
    named = shapes()
    assert len(named) == 37 and named["norm"] == (1, 3, 1, 1)
    assert named["block1.convs.0.weight"] == (64, 3, 3, 3) and named["block5.convs.2.weight"] == (512, 512, 3, 3)
    assert named["block3.convs.0.weight"] == (256, 128, 3, 3) and named["block4.projection.weight"] == (1, 512, 1, 1)


Change = Callable[[dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("norm"), r"is not ControlNet's HED network \(norm\): docs/prompts.md says"),
        (lambda w: w.pop("block3.convs.2.weight"), r"\(block3.convs.2.weight\)"),
        (lambda w: w.update(more=torch.zeros(1)), r"\(more\)"),
        (lambda w: w.update({"block2.convs.1.weight": torch.zeros(3, 4, 3, 3)}), r"\(block2.convs.1.weight\)"),
        (lambda w: w.update({"block1.convs.0.bias": torch.zeros(2000)}), r"\(block1.convs.0.bias\)"),
        (lambda w: w.update({"block1.convs.0.bias": torch.zeros(0)}), r"\(block1.convs.0.bias\)"),
        (lambda w: w["norm"].fill_(float("nan")), "holds weights that are no numbers"),
    ],
)
def test_other_networks_are_refused(tmp_path: Path, change: Change, said: str) -> None:
    weights = tiny_weights()
    change(weights)
    save_file(weights, tmp_path / "hed.safetensors")
    with pytest.raises(UserError, match=rf"--softedge .*hed\.safetensors .*{said}") as problem:
        SoftEdges(tmp_path / "hed.safetensors", CPU)
    assert "\n" not in str(problem.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save(tiny_weights(), tmp_path / "ControlNetHED.pth")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    save_file(tiny_weights(), tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-9])
    check_soft_edges(tmp_path / "whole.safetensors")
    for name in ("ControlNetHED.pth", "empty.safetensors", "cut.safetensors", "."):
        with pytest.raises(UserError, match="is no .safetensors file .*: other formats can hold programs and are not read"):
            check_soft_edges(tmp_path / name)


def test_the_line_of_the_page_on_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page says makes of a published file one that is read."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "prompts.md").read_text(encoding="utf-8")
    (line,) = re.findall(r'python -c "(.*hed.safetensors.*)"', page)
    torch.save(tiny_weights(), tmp_path / "ControlNetHED.pth")
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    check_soft_edges(tmp_path / "hed.safetensors")
