"""The deep video prior as a way of deflickering: its formula, the bars it is held against, the same bytes, nothing left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import to_float
from atlas.storage.stack import FrameStack
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.prior import PriorDeflicker
from edit.deflicker.protocol import Guides
from edit.deflicker.video_prior.network import PriorNetwork
from edit.deflicker.video_prior.predictor import Prior
from scripts.benchmarks.methods.disturbances import disturbed
from scripts.benchmarks.methods.scores import clip_psnr, flow_of, sharpness, warp_ratio
from scripts.benchmarks.methods.true_edit import painted_anew

QUICK = PriorDeflicker(epochs=2, width=4, longest=48)


def agreed(
    way: PriorDeflicker,
    frames: np.ndarray,
    source: np.ndarray,
    folder: Path,
    applies: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """The stack that comes out, (T, H, W, 3)."""
    given, result = FrameStack(folder / "given", frames.shape), FrameStack(folder / "result", frames.shape)
    for index, frame in enumerate(frames):
        given[index] = frame
    way.agree(given, Guides(source=lambda index: source[index], applies=applies), result)
    assert {path.name for path in folder.iterdir()} == {"given", "result"}
    return np.stack(list(result))


@pytest.fixture
def source(sample: Sample) -> np.ndarray:
    """(4, 64, 96, 3) float32."""
    return to_float(sample.frames[:4])


def edited(source: np.ndarray) -> np.ndarray:
    """Other colours, and each frame with a tint of its own."""
    tints = np.random.default_rng(0).normal(0, 0.08, (len(source), 1, 1, 3)).astype(np.float32)
    return np.clip(source[..., [2, 0, 1]] + tints, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("detail", ["keep", "prior"])
@pytest.mark.parametrize("irt", [False, True])
def test_the_same_input_gives_the_same_bytes(detail: str, irt: bool, source: np.ndarray, tmp_path: Path) -> None:
    way = PriorDeflicker(epochs=2, width=4, longest=48, detail=detail, irt=irt)  # type: ignore[arg-type]
    one, same = (agreed(way, edited(source), source, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert one.shape == source.shape and np.isfinite(one).all()


class Perfect(Prior):
    """A prior that knows the edit without its flicker, but shows it blurred."""

    def predict(self, source: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(source[..., [2, 0, 1]], (0, 0), 0.8)


@pytest.mark.parametrize("longest", [96, 48])
def test_low_frequencies_are_the_networks_and_detail_the_edits(
    longest: int, source: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tints vanish wholly, and the network's blur does not show. The published output is the network's own."""
    known = Perfect(PriorNetwork(1, 3, torch.Generator()), np.zeros((4, 3), np.float32))
    monkeypatch.setattr("edit.deflicker.prior.train", lambda *_, **__: known)
    source = 0.25 + 0.5 * source  # so that tints are not cut off
    given, true = edited(source), source[..., [2, 0, 1]]
    kept = agreed(PriorDeflicker(longest=longest), given, source, tmp_path)
    assert clip_psnr(kept, true) > clip_psnr(given, true) + 15
    assert sharpness(kept, true) > 0.98
    shown = agreed(PriorDeflicker(detail="prior", longest=96), given, source, tmp_path)
    np.testing.assert_allclose(shown[1], known.predict(source[1]), atol=2e-5)


def test_where_the_edit_does_not_apply_frames_stay(source: np.ndarray, tmp_path: Path) -> None:
    left = np.zeros((64, 96), np.float32)
    left[:, :48] = 1
    given = np.round(edited(source) * 65535) / np.float32(65535)
    kept = agreed(QUICK, given.astype(np.float32), source, tmp_path, applies=lambda index: left)
    np.testing.assert_allclose(kept[:, :, 48:], given[:, :, 48:], atol=1e-6)
    assert np.abs(kept[:, :, :48] - given[:, :, :48]).max() > 0.01


def test_odd_sizes_and_two_frames(tmp_path: Path, source: np.ndarray) -> None:
    odd = np.ascontiguousarray(source[:2, :37, :51])
    assert agreed(QUICK, edited(odd), odd, tmp_path).shape == (2, 37, 51, 3)


def test_a_single_frame_stays(tmp_path: Path, source: np.ndarray) -> None:
    one = edited(source[:1])
    np.testing.assert_allclose(agreed(QUICK, one, source[:1], tmp_path), one, atol=1 / 65535)


def test_what_fails_leaves_nothing(tmp_path: Path, source: np.ndarray) -> None:
    given, result = FrameStack(tmp_path / "given", source.shape), FrameStack(tmp_path / "result", source.shape)

    def broken(index: int) -> np.ndarray:
        if index == 2:
            raise OSError("the disk is gone")
        return source[index]

    with pytest.raises(OSError, match="the disk is gone"):
        QUICK.agree(given, Guides(source=broken), result)
    assert {path.name for path in tmp_path.iterdir()} == {"given", "result"}


def test_options_and_identity() -> None:
    usual = DeflickerOptions(clip=Path("clip"), edit="e", way="prior")
    assert PriorDeflicker.of(usual) == PriorDeflicker()
    asked = DeflickerOptions(clip=Path("clip"), edit="e", way="prior", epochs=7, detail="prior", irt=True, seed=3)
    made = PriorDeflicker.of(asked)
    assert (made.epochs, made.detail, made.irt, made.seed) == (7, "prior", True, 3)
    identity = PriorDeflicker().identity()
    assert identity["name"] == "prior" and identity["width"] and identity["longest"]
    for other in (made, PriorDeflicker(seed=1), PriorDeflicker(width=9), PriorDeflicker(learning_rate=1.0)):
        assert other.identity() != identity
    assert PriorDeflicker(longest=identity["longest"]).identity() == identity, "the size as it is, not as it was asked for"


@pytest.fixture(scope="module")
def clip() -> tuple[np.ndarray, np.ndarray]:
    """8 frames of 112x64, and a true edit of them: the true atlases painted anew. (T, H, W, 3) float32."""
    sample = make_sample(8, 64, 112)
    anew = {layer: painted_anew(atlas[..., :3]) for layer, atlas in sample.atlases.items()}
    return to_float(sample.frames), np.clip(sample.render(anew), 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "better"), [("gain", 1.0), ("cloud", 4.0)])
def test_flicker_goes(name: str, better: float, clip: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    source, true = clip
    given = np.stack([disturbed(frame, name, index, len(true)) for index, frame in enumerate(true)])
    made = agreed(PriorDeflicker(epochs=8), given, source, tmp_path)
    assert clip_psnr(made, true) > clip_psnr(given, true) + better

    def level(frames: np.ndarray) -> float:
        return float((frames - true).mean((1, 2)).std(0).mean())

    assert level(made) < level(given) / 4
    if name == "cloud":
        assert warp_ratio(made, true, flow_of(source)) < 1.4


@pytest.mark.slow
def test_a_clean_edit_stays(clip: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    source, true = clip
    assert clip_psnr(agreed(PriorDeflicker(epochs=8), true, source, tmp_path), true) > 42
