"""Control images: edges as controlnet-aux finds them, depth by a tiny network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from atlas.errors import UserError
from edit.diffusion.conditions import DepthEstimator, canny
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


def test_depth(models: Path, tmp_path: Path) -> None:
    tiny.save_depth(tmp_path / "depth")
    image = np.ascontiguousarray(data.chelsea()[:64, :128])
    found = DepthEstimator(tmp_path / "depth", torch.device("cpu"))(image)
    assert found.shape == (64, 128, 3) and found.dtype == np.uint8 and found.min() == 0 and found.max() == 255
    with pytest.raises(UserError, match="is no depth estimator that can be loaded"):
        DepthEstimator(models / "sd" / "vae", torch.device("cpu"))
