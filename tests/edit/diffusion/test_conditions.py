"""Control images: edges as controlnet-aux finds them, depth by a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from atlas.errors import UserError
from edit.diffusion.conditions import DepthEstimator, canny, gives_distance
from edit.diffusion.crop import Crop
from tests.edit import tiny


def detector(image: np.ndarray, low: int, high: int, resolution: int) -> np.ndarray:
    """controlnet-aux's CannyDetector: the shorter side to `resolution`, both to multiples of 64, then OpenCV's Canny."""
    scale = resolution / min(image.shape[:2])
    height, width = (int(np.round(side * scale / 64)) * 64 for side in image.shape[:2])
    shrunk = cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA)
    return np.repeat(cv2.Canny(shrunk, low, high)[..., None], 3, axis=2)


@pytest.mark.parametrize(("rows", "columns"), [(slice(60, 190), slice(100, 320)), (slice(0, 300), slice(0, 451))])
def test_edges_are_those_of_controlnet_aux(rows: slice, columns: slice) -> None:
    photo = data.chelsea()
    seen = np.zeros(photo.shape[:2], np.float32)
    seen[rows, columns] = 1
    crop = Crop.around(seen, 256)
    assert crop is not None
    found = canny(crop.cut(photo), 100, 200)
    assert found.shape == (crop.height, crop.width, 3) and found.dtype == np.uint8 and set(np.unique(found)) == {0, 255}
    assert np.array_equal(found, detector(photo[crop.box], 100, 200, 256))


def test_edges_are_those_of_the_installed_detector() -> None:
    try:
        from controlnet_aux import CannyDetector
    except (ImportError, RuntimeError, OSError) as problem:
        pytest.skip(f"controlnet-aux does not import here: {problem}")
    image = np.ascontiguousarray(data.chelsea()[:256, :384])
    theirs = CannyDetector()(image, 80, 160, detect_resolution=256, image_resolution=256, output_type="np")
    assert np.array_equal(canny(image, 80, 160), theirs)
    assert np.array_equal(canny(image, 80, 160)[..., 0], cv2.Canny(image, 80, 160))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "depth_anything", "depth_estimation_type": "metric"}, True),
        ({"model_type": "depth_anything", "depth_estimation_type": "relative"}, False),
        ({"model_type": "zoedepth"}, True),
        ({"model_type": "glpn"}, True),
        ({"model_type": "dpt"}, False),
        ({"model_type": "dpt", "backbone_config": {"model_type": "dinov2"}}, True),
        ({"model_type": "dpt", "backbone_config": {"model_type": "swin"}}, False),
        ({"model_type": "depth_pro"}, False),
    ],
)
def test_estimators_that_give_metres(config: dict[str, Any], expected: bool) -> None:
    assert gives_distance(config) == expected


def test_metres_are_turned_so_that_near_is_bright(tmp_path: Path) -> None:
    tiny.save_depth(tmp_path / "depth")
    image, cpu = np.ascontiguousarray(data.chelsea()[:64, :128]), torch.device("cpu")
    inverse = DepthEstimator(tmp_path / "depth", cpu)(image)[..., 0].astype(int)
    file = tmp_path / "depth" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"depth_estimation_type": "metric"}))
    metres = DepthEstimator(tmp_path / "depth", cpu)(image)[..., 0].astype(int)
    order = np.argsort(inverse, axis=None)
    means = [part.mean() for part in np.array_split(metres.flat[order], 8)]  # of what was darkest, first
    assert metres.flat[order[0]] == 255 and means == sorted(means, reverse=True) and means[0] > means[-1]


def test_depth(models: Path, tmp_path: Path) -> None:
    tiny.save_depth(tmp_path / "depth")
    image = np.ascontiguousarray(data.chelsea()[:64, :128])
    found = DepthEstimator(tmp_path / "depth", torch.device("cpu"))(image)
    assert found.shape == (64, 128, 3) and found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
    with pytest.raises(UserError, match="is no depth estimator that can be used"):
        DepthEstimator(models / "sd" / "vae", torch.device("cpu"))


def test_depth_by_every_weight(tmp_path: Path) -> None:
    """Weights of another kind of network, or too few, are refused; what no depth comes from may lie there or be missing."""
    tiny.save_depth(tmp_path / "depth")
    file, image = tmp_path / "depth" / "model.safetensors", np.zeros((64, 64, 3), np.uint8)
    whole = load_file(file)
    unit = "neck.fusion_stage.layers.0.residual_layer1."
    lean = {name: value for name, value in whole.items() if not name.startswith(unit)}
    assert len(lean) < len(whole)
    save_file(lean | {"dpt.pooler.dense.weight": torch.zeros(8, 8)}, file, {"format": "pt"})
    cpu = torch.device("cpu")
    assert DepthEstimator(tmp_path / "depth", cpu)(image).shape == image.shape
    save_file(whole | {"decoder.stages.0.weight": torch.zeros(8)}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"depth holds weights that the depth estimator .* \(decoder.stages.0.weight\)"):
        DepthEstimator(tmp_path / "depth", cpu)
    save_file({name: value for name, value in whole.items() if "head" not in name}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"depth lacks depth estimator weights \(head"):
        DepthEstimator(tmp_path / "depth", cpu)


@pytest.mark.parametrize("size", [{"height": 32}, {"height": 32, "width": "wide"}, []])
def test_a_depth_estimator_that_cannot_prepare_pictures(tmp_path: Path, size: Any) -> None:
    tiny.save_depth(tmp_path / "depth")
    file = tmp_path / "depth" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": size}))
    with pytest.raises(UserError, match="depth is no depth estimator that can be used"):
        DepthEstimator(tmp_path / "depth", torch.device("cpu"))
