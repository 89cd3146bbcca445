"""Deflickering by patches: a known disturbance gets less, what agrees stays, and the settings are kept to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.geometry.patch_match import Search
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from atlas.storage.images import to_float
from atlas.storage.stack import FrameStack
from edit.deflicker.options import DeflickerOptions
from edit.deflicker.patches import Mode, PatchDeflicker
from edit.deflicker.protocol import Guides
from edit.deflicker.remapping import Start

FRAMES = 5


@pytest.fixture
def maps(sample_clip: Clip) -> Maps:
    return Maps(sample_clip.fit_folder("truth"))


def _guides(sample: Sample, maps: Maps | None = None, applies: Callable[[int], np.ndarray] | None = None) -> Guides:
    return Guides(source=lambda number: to_float(sample.frames[number]), maps=maps, applies=applies)


def _true_edit(sample: Sample) -> np.ndarray:  # (T, H, W, 3)
    """Red and blue change places, and stripes over each layer."""
    edited = {}
    for layer, atlas in sample.atlases.items():
        stripes = 0.7 + 0.3 * np.sin(np.arange(len(atlas)) * (2 * np.pi * 9 / len(atlas)))
        edited[layer] = atlas[:, :, [2, 1, 0]] * stripes[:, None, None].astype(np.float32)
    return np.clip(sample.render(edited), 0, 1)[:FRAMES]


def _disturbed(frames: np.ndarray) -> np.ndarray:
    """An offset of each frame's own, and noise of a few pixels."""
    draw = np.random.default_rng(0)
    coarse = draw.normal(0, 0.08, (len(frames), frames.shape[1] // 4, frames.shape[2] // 4, 3))
    noise = np.repeat(np.repeat(coarse, 4, 1), 4, 2) + draw.normal(0, 0.05, (len(frames), 1, 1, 3))
    return np.clip(frames + noise, 0, 1).astype(np.float32)


def _agreed(way: PatchDeflicker, frames: np.ndarray, guides: Guides, folder: Path) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    stack, result = (FrameStack(folder / name, frames.shape) for name in ("frames", "result"))
    for number, frame in enumerate(frames):
        stack[number] = frame
    way.agree(stack, guides, result)
    assert {path.name for path in folder.iterdir()} == {"frames", "result"}, "something was left beside the result"
    return np.stack(list(result))


def _db(frames: np.ndarray, truth: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((frames.astype(np.float64) - truth) ** 2)))


@pytest.mark.parametrize(
    ("way", "fitted", "gained"),
    [
        (PatchDeflicker(), True, 3),
        (PatchDeflicker(), False, 2.5),
        (PatchDeflicker(mode="fast", window=4), True, 3.5),
        (PatchDeflicker(mode="accurate"), False, 2.5),
        (PatchDeflicker(window=1, start="identity", search=Search(sizes=(7, 5)), trust=None), False, 1.5),
    ],
    ids=["atlas", "flow", "fast", "accurate", "published"],
)
def test_a_known_disturbance_gets_less(
    way: PatchDeflicker, fitted: bool, gained: float, sample: Sample, maps: Maps, tmp_path: Path
) -> None:
    truth = _true_edit(sample)
    given = _disturbed(truth)
    guides = _guides(sample, maps if fitted else None)
    result = _agreed(way, given, guides, tmp_path / "a")
    assert _db(result, truth) > _db(given, truth) + gained


def test_what_the_source_contradicts_has_no_say(sample: Sample, tmp_path: Path) -> None:
    """Something that only the second frame shows, in the source and in the edit."""
    sources = np.stack([to_float(sample.frames[0])] * 3)
    frames = np.stack([_true_edit(sample)[0]] * 3)
    sources[1, 20:40, 30:60] = np.float32([0, 1, 0])
    frames[1, 20:40, 30:60] = np.float32([1, 0, 1])
    result = _agreed(
        PatchDeflicker(start="identity", search=Search(sizes=(5,))),
        frames,
        Guides(source=lambda number: sources[number]),
        tmp_path / "a",
    )
    assert np.abs(result - frames).max() < 0.05
    blind = _agreed(
        PatchDeflicker(start="identity", search=Search(sizes=(5,))), frames, Guides(source=lambda _: sources[0]), tmp_path / "b"
    )
    assert np.abs(blind - frames)[:, 20:40, 30:60].mean() > 0.2


def test_grain_of_the_source_takes_no_say_away(sample: Sample, tmp_path: Path) -> None:
    truth = _true_edit(sample)
    given, draw = _disturbed(truth), np.random.default_rng(1)
    noisy = np.clip(to_float(sample.frames[:FRAMES]) + draw.normal(0, 8 / 255, truth.shape), 0, 1).astype(np.float32)
    result = _agreed(PatchDeflicker(), given, Guides(source=lambda number: noisy[number]), tmp_path / "a")
    assert _db(result, truth) > _db(given, truth) + 2.5


@pytest.mark.parametrize("mode", ["balanced", "fast", "accurate"])
@pytest.mark.parametrize("start", ["identity", "flow", "atlas"])
def test_equal_frames_with_equal_sources_stay(mode: Mode, start: Start, sample: Sample, maps: Maps, tmp_path: Path) -> None:
    still = Guides(source=lambda _: to_float(sample.frames[0]), maps=_Still(maps) if start == "atlas" else None)  # type: ignore[arg-type]
    frames = FrameStack(tmp_path / "kept", (3, *sample.frames.shape[1:]))
    for number in range(len(frames)):
        frames[number] = _true_edit(sample)[0]
    way = PatchDeflicker(mode=mode, start=start, search=Search(sizes=(7, 5)))
    kept = np.stack(list(frames))
    assert 255 * np.abs(_agreed(way, kept, still, tmp_path / "a") - kept).max() < 1e-3


class _Still:
    """The maps of a clip that shows its first frame throughout."""

    def __init__(self, maps: Maps) -> None:
        self.layers, self.frames, self.height, self.width = maps.layers, 3, maps.height, maps.width
        self.uv = lambda layer, frame: maps.uv(layer, 0)
        self.opacity = lambda layer, frame: maps.opacity(layer, 0)
        self.atlas_size = maps.atlas_size


def test_where_the_edit_does_not_apply_frames_stay_and_have_no_say(sample: Sample, tmp_path: Path) -> None:
    truth = _true_edit(sample)
    shown = np.stack([to_float(sample.masks("foreground")[number]) for number in range(FRAMES)])
    colour = np.float32([1.0, 0.0, 1.0])  # what lies outside of the edit
    frames = np.where(shown[..., None] > 0, truth, colour)
    guides = _guides(sample, applies=lambda number: shown[number])
    result = _agreed(PatchDeflicker(), frames, guides, tmp_path / "a")
    assert np.abs(result - colour)[shown == 0].max() < 1e-4
    assert np.abs(result - truth)[shown > 0].mean() < 0.02
    everywhere = _agreed(PatchDeflicker(), frames, _guides(sample), tmp_path / "b")
    assert np.abs(result - truth)[shown > 0].mean() < 0.7 * np.abs(everywhere - truth)[shown > 0].mean()


def test_the_same_seed_gives_the_same_bytes(sample: Sample, tmp_path: Path) -> None:
    frames = _disturbed(_true_edit(sample))[:3]
    results = [
        _agreed(PatchDeflicker(seed=seed), frames, _guides(sample), tmp_path / str(i)) for i, seed in enumerate((1, 1, 2))
    ]
    assert (results[0] == results[1]).all() and (results[0] != results[2]).any()


def test_frames_too_small_for_flow(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((3, 10, 12, 3)).astype(np.float32)
    result = _agreed(PatchDeflicker(), frames, Guides(source=lambda number: frames[number]), tmp_path / "a")
    assert np.isfinite(result).all()


def test_the_atlas_as_start_needs_a_fit(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--start atlas needs a fit"):
        _agreed(PatchDeflicker(start="atlas"), _true_edit(sample), _guides(sample), tmp_path / "a")


def test_options_are_kept_to() -> None:
    options = DeflickerOptions(clip=Path("c"), edit="e", way="patches", window=5, mode="fast", seed=3)
    assert options.chosen() == PatchDeflicker(window=5, mode="fast", seed=3)
    assert PatchDeflicker().identity() != PatchDeflicker(search=Search(sizes=(5,))).identity()
    assert DeflickerOptions(clip=Path("c"), edit="e", way="patches").chosen() == PatchDeflicker()
