"""Control images made steady through the atlas of the sample clip, whose maps are true."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.geometry.warp import sample as looked_up
from atlas.maps.maps import Maps
from atlas.maps.views import CroppedMaps
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8
from atlas.storage.stack import FrameStack
from edit.controls.steady import steadied, steadied_keyframes

SHAPE = (12, 64, 96, 3)


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


@pytest.fixture
def truth(sample: Sample, maps: Maps) -> np.ndarray:
    """Control images that are the same on every texel, (12, 64, 96, 3) in [0, 1]: a channel of the atlases, without light."""
    total = np.zeros(SHAPE, np.float32)
    for layer in sample.layers:
        painted = torch.from_numpy(np.repeat(sample.atlases[layer][..., :1], 3, -1))
        for frame in range(12):
            seen = looked_up(painted, torch.from_numpy(maps.uv(layer, frame))).numpy()
            total[frame] += maps.opacity(layer, frame)[..., None] * seen
    return total


def steadily(images: np.ndarray, maps: Maps, kind: str, folder: Path, **more: object) -> np.ndarray:
    given, result = FrameStack(folder / "given.bin", SHAPE), FrameStack(folder / "result.bin", SHAPE)
    for index, image in enumerate(images):
        given[index] = image
    steadied(given, maps, kind, result, **more)  # type: ignore[arg-type]
    assert sorted(path.name for path in folder.glob("*.bin*")) == ["given.bin", "result.bin"]
    return np.stack(list(result))


def decibels(images: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((images - truth) ** 2)))


def boiling(seed: int = 0) -> np.ndarray:  # (12, 64, 96, 1)
    rng = np.random.default_rng(seed)
    noise = np.stack([cv2.GaussianBlur(rng.normal(size=SHAPE[1:3]), (0, 0), 1.5) for _ in range(12)])
    return (0.05 * noise / noise.std())[..., None].astype(np.float32)


@pytest.mark.parametrize("kind", ["softedge", "images"])
def test_what_boils_becomes_quiet_and_what_is_quiet_stays(maps: Maps, truth: np.ndarray, kind: str, tmp_path: Path) -> None:
    given = truth + boiling()
    assert decibels(steadily(given, maps, kind, tmp_path), truth) > decibels(given, truth) + 5
    assert decibels(steadily(truth, maps, kind, tmp_path), truth) > 40


def test_a_frame_in_which_the_estimator_failed_has_no_say(maps: Maps, truth: np.ndarray, tmp_path: Path) -> None:
    given = truth.copy()
    given[[0, 5, 10]] = 0.3
    found = steadily(given, maps, "softedge", tmp_path)
    assert decibels(found, truth) > decibels(given, truth) + 10
    assert decibels(steadily(given, maps, "softedge", tmp_path, robust=False), truth) < decibels(found, truth) - 5


def test_depth_is_brought_to_one_scale_first(maps: Maps, truth: np.ndarray, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scale, shift = (rng.uniform(*ends, (12, 1, 1, 1)) for ends in ((0.5, 0.9), (0, 0.1)))
    given = (scale * truth + shift + 0.3 * boiling()).astype(np.float32)

    def left(images: np.ndarray) -> float:
        gain, level = np.polyfit(images.ravel(), truth.ravel(), 1)
        return decibels(gain * images + level, truth)

    found = left(steadily(given, maps, "depth", tmp_path))
    assert found > left(given) + 12
    assert left(steadily(given, maps, "softedge", tmp_path)) < found - 6


def test_light_is_no_part_of_control_images(maps: Maps, tmp_path: Path) -> None:
    assert maps.has_light("foreground") and np.ptp(maps.light("foreground", 3)) > 0.05
    even = np.full(SHAPE, 0.5, np.float32)
    assert np.abs(steadily(even, maps, "images", tmp_path) - 0.5).max() < 1e-3


def test_black_and_white_stay_in_range(maps: Maps, truth: np.ndarray, tmp_path: Path) -> None:
    binary = (truth + boiling() > 0.5).astype(np.float32)
    found = steadily(binary, maps, "images", tmp_path)
    assert found.min() >= 0 and found.max() <= 1
    kept = (found > 0.5) == (truth > 0.5)
    assert kept.mean() > ((binary > 0.5) == (truth > 0.5)).mean()


def test_where_the_fit_does_not_show_the_frame_images_stay_their_own(
    sample_clip: Clip, maps: Maps, truth: np.ndarray, tmp_path: Path
) -> None:
    strange = [4, 8]

    def source(frame: int) -> np.ndarray:
        seen = sample_clip.frame(frame) / np.float32(255)
        if frame in strange:
            seen[:, :40] = [1, 0, 1]  # something else than the other frames show there
        return seen

    given = truth + boiling()
    trusting, careful = (steadily(given, maps, "softedge", tmp_path, source=there) for there in (None, source))
    changed = [np.abs(found - given)[strange, :, :30].mean() for found in (trusting, careful)]
    assert changed[1] < 0.5 * changed[0]
    assert np.abs(trusting - careful)[:, :, 60:].mean() < 0.005


@pytest.mark.parametrize("kind", ["canny", "pose"])
def test_edges_and_poses_are_left_alone(maps: Maps, truth: np.ndarray, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are not steadied"):
        steadily(truth, maps, kind, tmp_path)


def test_keyframes_agree_at_sizes_of_their_own(sample_clip: Clip, maps: Maps, truth: np.ndarray, tmp_path: Path) -> None:
    """Each has a box of its own; what is added to it there is what all have in common."""
    frames = [1, 4, 7, 10]
    boxes = [(slice(0, 64), slice(left, left + 80)) for left in (0, 4, 8, 16)]
    sizes = [(128, 192), (128, 128), (192, 192), (64, 128)]
    given, known = [], []
    for frame, box, (height, width) in zip(frames, boxes, sizes, strict=True):
        for images, of in ((given, truth + boiling()), (known, truth)):
            images.append(to_uint8(cv2.resize(of[frame][box], (width, height), interpolation=cv2.INTER_LINEAR)))
    found = steadied_keyframes(given, frames, boxes, maps, "images", sample_clip.frame, tmp_path)
    assert [image.shape[:2] for image in found] == sizes and all(image.dtype == np.uint8 for image in found)
    errors = [
        np.mean([((image.astype(float) - there) ** 2).mean() for image, there in zip(images, known, strict=True)])
        for images in (given, found)
    ]
    assert errors[1] < 0.6 * errors[0]  # of four independent looks; a quarter is the least
    assert not list(tmp_path.glob("*.bin*"))
    one = steadied_keyframes(given[:1], frames[:1], boxes[:1], maps, "images", sample_clip.frame, tmp_path)
    assert np.abs(one[0].astype(int) - given[0]).max() <= 1


def test_chosen_frames_of_maps_are_those_frames(maps: Maps) -> None:
    boxes = [(slice(0, 64), slice(0, 96)), (slice(8, 40), slice(16, 48))]
    chosen = CroppedMaps(maps, boxes, 64, 96, [7, 2])
    assert chosen.frames == 2 and np.array_equal(chosen.uv("foreground", 0), maps.uv("foreground", 7))
    whole = CroppedMaps(maps, [boxes[1]] * maps.frames, 64, 96)
    for name in ("uv", "opacity", "light"):
        assert np.array_equal(getattr(chosen, name)("background", 1), getattr(whole, name)("background", 2))
