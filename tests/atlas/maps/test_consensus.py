"""Consensus through the atlas: what it keeps, what it removes, on the sample's true maps and on maps in which nothing moves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from atlas.maps.consensus import ConsensusSettings, through_atlas
from atlas.maps.maps import Maps
from atlas.maps.views import CroppedMaps, ViewMaps
from atlas.sample.files import write_truth
from atlas.sample.scene import Sample, make_sample
from tests.atlas.maps.moving import StillMaps, clip_db, stacked, true_edit

Agree = Callable[..., np.ndarray]
_LEVEL = 1 / 65535  # of a stack on the disk
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def agree(tmp_path: Path) -> Agree:
    """`agree(frames, maps, form=..., ...)`: the frames (T, H, W, 3) that come out."""

    def run(
        frames: Any, maps: ViewMaps, layers: Any = None, *, applies: Any = None, trust: Any = None, **chosen: Any
    ) -> np.ndarray:
        given, result = stacked(frames, tmp_path / "given"), stacked(frames, tmp_path / "result")
        settings = ConsensusSettings(**chosen)
        through_atlas(given, maps, layers or maps.layers, result, settings, applies=applies, trust=trust)
        return np.stack(list(result))

    return run


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Maps]:
    """A true edit of 12 frames of 240x136, and the true maps."""
    sample = make_sample(frames=12, height=136, width=240)
    folder = tmp_path_factory.mktemp("truth")
    write_truth(sample, folder)
    return true_edit(sample), Maps(folder)


@pytest.fixture(scope="module")
def small(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Maps]:
    """The same of 12 frames of 96x64."""
    folder = tmp_path_factory.mktemp("small")
    write_truth(sample, folder)
    return true_edit(sample), Maps(folder)


def _stored(frames: np.ndarray) -> np.ndarray:
    """Frames as a stack on the disk gives them back."""
    return (np.clip(frames, 0, 1) * 65535 + 0.5).astype(np.uint16).astype(np.float32) / np.float32(65535)


def _gains(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 0.08, (count, 1, 1, 3)).astype(np.float32)


def _clouds(shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.06 * shape[2]) for frame in noise])
    return 0.06 * smooth / smooth.std()


@pytest.mark.slow
def test_a_clean_edit_is_kept(walk: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = walk
    assert clip_db(agree(truth, maps), truth) > 45


@pytest.mark.slow
def test_flicker_goes(walk: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = walk
    for flicker in (np.clip(truth * _gains(len(truth)), 0, 1), np.clip(truth + _clouds(truth.shape), 0, 1)):
        assert clip_db(agree(flicker, maps), truth) > clip_db(flicker, truth) + 5


@pytest.mark.slow
def test_a_crop_that_is_enlarged_has_an_atlas_of_its_own_density(walk: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = walk
    box = slice(20, 120), slice(40, 200)
    larger = np.stack([cv2.resize(frame[box], (320, 200), interpolation=cv2.INTER_LINEAR) for frame in truth])
    view = CroppedMaps(maps, [box] * len(truth), 200, 320)
    flicker = np.clip(larger + _clouds(larger.shape), 0, 1)
    assert clip_db(agree(larger, view), larger) > 40
    assert clip_db(agree(flicker, view), larger) > clip_db(flicker, larger) + 5


def test_several_layers_and_both_forms(sample_two: Sample, tmp_path: Path, agree: Agree) -> None:
    write_truth(sample_two, tmp_path / "truth")
    truth, maps = true_edit(sample_two), Maps(tmp_path / "truth")
    flicker = np.clip(truth * _gains(len(truth)), 0, 1)
    assert len(maps.layers) == 3
    for form in ("delta", "replace"):
        assert clip_db(agree(flicker, maps, form=form), truth) > clip_db(flicker, truth) + 3
    assert clip_db(agree(truth, maps), truth) > 40


def test_the_mean_in_its_place_leaves_no_flicker(agree: Agree) -> None:
    rng = np.random.default_rng(0)
    frames = rng.random((5, 20, 24, 3)).astype(np.float32)
    result = agree(frames, StillMaps(5, 20, 24), form="replace")
    assert np.abs(result - result[0]).max() <= _LEVEL
    added = agree(frames, StillMaps(5, 20, 24))
    assert np.abs(added - added[0]).max() > 0.1  # what is finer than the atlas stays each frame's own


def test_layers_that_were_not_edited_stay(small: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = small
    flicker = _stored(truth * _gains(len(truth)))
    result = agree(flicker, maps, ["foreground"])
    for index, (before, after) in enumerate(zip(flicker, result, strict=True)):
        unseen = maps.opacity("foreground", index) == 0
        assert np.array_equal(before[unseen], after[unseen]) and not np.array_equal(before, after)


def test_one_frame_alone_stays(small: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = small
    alone = _stored(truth[4:5])
    whole = slice(0, maps.height), slice(0, maps.width)
    assert np.array_equal(agree(alone, CroppedMaps(maps, [whole], maps.height, maps.width, [4])), alone)


@pytest.mark.parametrize("chosen", [{}, {"robust": True}, {"gain": True}, {"window": 1}, {"robust": True, "gain": True}])
def test_frames_that_agree_leave_bits(chosen: dict[str, Any], agree: Agree) -> None:
    picture = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    frames = _stored(np.stack([picture] * 4))
    assert np.array_equal(agree(frames, StillMaps(4, 20, 24), **chosen), frames)


def test_light_is_divided_out_and_put_back(agree: Agree) -> None:
    picture = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    light = [0.5, 0.8, 1.0, 0.01]  # the last one is below what colours are divided by
    frames = _stored(np.stack([picture * max(one, 0.05) for one in light]))
    assert np.abs(agree(frames, StillMaps(4, 20, 24, light)) - frames).max() < 1e-3
    dark = agree(frames, StillMaps(4, 20, 24))
    assert np.abs(dark[3] - frames[3]).mean() > 0.1


def test_a_window_is_the_mean_of_its_frames(agree: Agree) -> None:
    levels = np.array([0.1, 0.5, 0.2, 0.9, 0.4, 0.6], np.float32)
    frames = np.ones((6, 20, 24, 3), np.float32) * levels[:, None, None, None]
    maps = StillMaps(6, 20, 24)
    for window in (0, 1, 2, 5, 100):
        expected = [levels[max(i - window, 0) : i + window + 1].mean() for i in range(6)]
        result = agree(frames, maps, window=window)
        assert np.allclose(result, np.reshape(expected, (6, 1, 1, 1)), atol=1e-4), window
    assert np.array_equal(agree(frames, maps, window=100), agree(frames, maps))


def test_a_window_matches_exposures_to_its_own(agree: Agree) -> None:
    """Light that grows over the clip stays; what flickers beside it goes."""
    picture = np.random.default_rng(0).random((20, 24, 1)).astype(np.float32) * 0.4
    growing = np.linspace(0.8, 1.6, 15)[:, None, None, None] * picture
    flicker = growing * np.where(np.arange(15) % 2, 0.9, 1.1)[:, None, None, None]
    result = agree(np.repeat(flicker, 3, 3).astype(np.float32), StillMaps(15, 20, 24), window=3, gain=True)
    ratio = result.mean((1, 2, 3))[3:-3] / growing.mean((1, 2, 3))[3:-3]
    assert ratio.std() < 0.02 and abs(ratio.mean() - 1) < 0.03


def test_the_commoner_look_wins(agree: Agree) -> None:
    frames = np.full((10, 20, 24, 3), 0.2, np.float32)
    frames[[3, 7]] = 0.8
    maps = StillMaps(10, 20, 24)
    assert np.allclose(agree(frames, maps), 0.32, atol=1e-3)
    assert np.allclose(agree(frames, maps, robust=True), 0.2, atol=0.01)


def test_exposure_is_matched_where_coverage_differs(agree: Agree) -> None:
    """A part that only one frame shows has that frame's exposure, unless exposures are matched first."""

    class Widening(StillMaps):
        def opacity(self, layer: str, frame: int) -> np.ndarray:
            seen = super().opacity(layer, frame)
            if frame:
                seen[:, 12:] = 0
            return seen

    frames = np.full((6, 20, 24, 3), 0.4, np.float32)
    frames[0] = 0.6
    plain, matched = (agree(frames, Widening(6, 20, 24), gain=gain)[0] for gain in (False, True))
    assert np.allclose(plain[:, 20:], 0.6, atol=1e-3)
    assert np.allclose(matched[:, 20:], matched[:, :4], atol=0.02) and matched[:, 20:].mean() < 0.46


def test_where_an_edit_does_not_apply_it_has_no_say(agree: Agree) -> None:
    frames = np.full((4, 20, 24, 3), 0.3, np.float32)
    frames[0], frames[1, :, 12:] = 0.5, 0.9
    applies = np.ones((4, 20, 24), np.float32)
    applies[1, :, 12:] = 0
    frames = _stored(frames)
    result = agree(frames, StillMaps(4, 20, 24), applies=applies.__getitem__)
    assert np.array_equal(result[1, :, 12:], frames[1, :, 12:])
    assert np.allclose(result[2, :, 16:], (0.5 + 0.3 + 0.3) / 3, atol=1e-3)
    assert np.allclose(result[2, :, :8], 0.35, atol=1e-3)


def test_what_is_not_trusted_takes_on_the_change_beside_it(agree: Agree) -> None:
    rng = np.random.default_rng(0)
    frames = 0.5 + 0.1 * rng.random((4, 20, 24, 3)).astype(np.float32)
    frames[:, 6:14, 8:16] = rng.random((4, 8, 8, 3))
    frames[0] += 0.1
    trust = np.ones((20, 24), np.float32)
    trust[5:15, 7:17] = 0
    maps = StillMaps(4, 20, 24)
    change = (agree(frames, maps, trust=lambda index: trust) - _stored(frames))[0]
    assert abs(change[8:12, 10:14].mean() + 0.075) < 0.02 and change[8:12, 10:14].std() < 0.02
    nowhere = agree(frames, maps, trust=lambda index: trust * 0)
    assert np.array_equal(nowhere, _stored(frames))


def test_the_same_frames_give_the_same_bytes(small: tuple[np.ndarray, Maps], agree: Agree) -> None:
    truth, maps = small
    flicker = np.clip(truth * _gains(len(truth)), 0, 1)
    assert np.array_equal(agree(flicker, maps, gain=True, robust=True), agree(flicker, maps, gain=True, robust=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count peaks otherwise")
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    code = f"""
import resource, sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from atlas.maps.consensus import ConsensusSettings, through_atlas
from atlas.storage.stack import FrameStack
from tests.atlas.maps.moving import StillMaps
for frames in (10, 160):
    folder = Path({str(tmp_path)!r})
    with FrameStack(folder / "a", (frames, 96, 128, 3)) as given, FrameStack(folder / "b", (frames, 96, 128, 3)) as result:
        through_atlas(given, StillMaps(frames, 96, 128), ["background"], result, ConsensusSettings(window=frames // 4))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # the highest so far, KB on Linux
"""
    few, many = map(
        int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert (many - few) * 1024 < 150 * 96 * 128 * 3 * 4 / 4
