"""Tone: what should stay stays, Pillow is the reference, and the clip's one mean does not flicker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from atlas.sample.scene import Sample
from atlas.storage.images import to_float, to_uint8
from atlas.storage.stack import FrameStack
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.protocol import Guides
from edit.deflicker.tone import Tone


def toned(tone: Tone, frames: np.ndarray, folder: Path, guides: Guides | None = None) -> np.ndarray:
    """The stack that comes out, (T, H, W, 3)."""
    given, result = FrameStack(folder / "given", frames.shape), FrameStack(folder / "result", frames.shape)
    for index, frame in enumerate(frames):
        given[index] = frame
    tone.agree(given, guides or Guides(source=lambda index: frames[index]), result)
    return np.stack(list(result))


@pytest.fixture
def frames(sample: Sample) -> np.ndarray:
    """Four frames of the sample with different exposures."""
    return to_float(sample.frames[:4]) * np.array([0.6, 1.0, 0.8, 0.5], np.float32)[:, None, None, None]


def test_one_and_one_change_no_bit(frames: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_array_equal(toned(Tone(1.0, 1.0), frames, tmp_path), toned(Tone(1, 1, per_frame=True), frames, tmp_path))
    given = FrameStack(tmp_path / "given", frames.shape)
    for index, frame in enumerate(frames):
        given[index] = frame
    np.testing.assert_array_equal(toned(Tone(1.0, 1.0), frames, tmp_path), np.stack(list(given)))


def test_a_flat_grey_stays(tmp_path: Path) -> None:
    flat = np.full((3, 8, 10, 3), 24576 / 65535, np.float32)
    np.testing.assert_array_equal(toned(Tone(1.6, 1.7), flat, tmp_path), flat)


@pytest.mark.parametrize(
    ("contrast", "sharpness", "most"),
    [(1.1, 1.0, 1), (1.4, 1.0, 1), (0.7, 1.0, 1), (1.0, 1.1, 1), (1.0, 2.5, 1), (1.0, 0.5, 1), (1.1, 1.1, 2)],
)
def test_with_each_frames_own_mean_it_is_pillows(
    contrast: float, sharpness: float, most: int, frames: np.ndarray, tmp_path: Path
) -> None:
    """To one grey level: Pillow takes the mean in whole levels, and cuts fractions off after each of the two steps."""
    whole = to_uint8(frames)
    made = to_uint8(toned(Tone(contrast, sharpness, per_frame=True), to_float(whole), tmp_path))
    for frame, found in zip(whole, made, strict=True):
        picture = ImageEnhance.Contrast(Image.fromarray(frame)).enhance(contrast)
        expected = np.asarray(ImageEnhance.Sharpness(picture).enhance(sharpness))
        apart = np.abs(found.astype(int) - expected)
        assert apart.max() <= most and apart.mean() < 1


def test_the_clips_mean_keeps_exposures_apart_by_one_factor(tmp_path: Path) -> None:
    """Flat frames of different grey: about one mean, their differences are multiplied; about their own, nothing happens."""
    greys = np.array([0.4, 0.5, 0.6], np.float32)
    flat = np.broadcast_to(greys[:, None, None, None], (3, 8, 8, 3)).copy()
    np.testing.assert_allclose(toned(Tone(1.5, 1.0), flat, tmp_path)[:, 2, 2, 1], [0.35, 0.5, 0.65], atol=2e-5)
    np.testing.assert_allclose(toned(Tone(1.5, 1.0, per_frame=True), flat, tmp_path)[:, 2, 2, 1], greys, atol=2e-5)


def test_what_the_edit_does_not_apply_to_is_not_in_the_mean(tmp_path: Path) -> None:
    half = np.zeros((2, 8, 8, 3), np.float32)
    half[:, :, :4], half[:, :, 4:] = 0.5, 0.9
    left = np.zeros((8, 8), np.float32)
    left[:, :4] = 1
    made = toned(Tone(2.0, 1.0), half, tmp_path, Guides(source=lambda index: half[index], applies=lambda index: left))
    np.testing.assert_allclose(made[:, :, :4], 0.5, atol=2e-5)
    assert (made[:, :, 4:] == 1).all()


def test_identity_holds_the_settings() -> None:
    assert Tone(1.2, 1.3).identity() == {"name": "tone", "version": 1, "contrast": 1.2, "sharpness": 1.3, "per_frame": False}
    assert Tone.of(DeflickerOptions(clip=Path("clip"), edit="e", way="prior")) == Tone()
