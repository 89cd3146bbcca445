"""Cuts are found, and nothing that merely looks wild is taken for one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.preparation.cuts import CutFinder, refuse_cuts
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.sample.scene import Sample
from atlas.storage.images import write_image

HEIGHT, WIDTH = 90, 160


def cuts(frames: Iterable[np.ndarray]) -> list[int]:
    finder = CutFinder()
    for frame in frames:
        finder.add(frame)
    return finder.cuts()


def pan(picture: np.ndarray, count: int, speed: float, zoom: float = 1.6) -> list[np.ndarray]:
    """A camera that moves over a picture, `speed` pixels a frame."""
    large = cv2.resize(picture, (round(WIDTH * zoom * 2), round(HEIGHT * zoom * 2)), interpolation=cv2.INTER_AREA)
    room = large.shape[1] - WIDTH
    left = [round(abs((speed * i + room) % (2 * room) - room)) for i in range(count)]
    return [large[20 : 20 + HEIGHT, x : x + WIDTH] for x in left]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]


def scaled(frame: np.ndarray, gain: float, add: float = 0) -> np.ndarray:
    return np.clip(frame * np.float32(gain) + add, 0, 255).astype(np.uint8)


def test_every_cut_between_pictures(pictures: list[np.ndarray]) -> None:
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            assert cuts(pan(first, 8, 10) + pan(second, 8, 3)) == [8]
    assert cuts(frame for picture in pictures for frame in pan(picture, 7, 2)) == [7, 14, 21]


def test_cuts_at_the_ends_and_in_the_dark(pictures: list[np.ndarray]) -> None:
    one, other = pan(pictures[0], 10, 2), pan(pictures[1], 10, 2)
    assert cuts(one + other[:1]) == [10] and cuts(one[:1] + other) == [1]
    assert cuts(one[:3] + other[:3]) == [3]
    assert cuts([scaled(frame, 0.15) for frame in one + other]) == [10]
    assert cuts([*one[:8], *np.zeros((8, HEIGHT, WIDTH, 3), np.uint8)]) == [8], "black frames are no part of a shot"


def test_between_sample_scenes(sample: Sample, pictures: list[np.ndarray]) -> None:
    garage = list(sample.frames)
    size = garage[0].shape[1::-1]
    other = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in pan(pictures[1], 8, 2)]
    assert cuts(garage) == [] and cuts(garage + other) == [12]
    assert cuts(garage + garage[::-1]) == []


@pytest.mark.parametrize("speed", [1, 8, 55])
def test_motion_is_no_cut(pictures: list[np.ndarray], speed: float) -> None:
    """From a still camera to one that jumps by a third of the frame, blurred as such motion is, or sharp."""
    for picture in pictures[:3]:
        frames = pan(picture, 16, speed)
        assert cuts(frames) == []
        assert cuts([cv2.blur(frame, (max(1, int(speed)), 1)) for frame in frames]) == []
        # All of a sudden, and again still.
        still = pan(picture, 8, 0)
        assert cuts(still + frames[:8] + [frames[7]] * 8) == []


def test_light_is_no_cut(pictures: list[np.ndarray]) -> None:
    for picture in pictures[1:3]:
        frames = pan(picture, 16, 2)
        for gain in (0.3, 0.6, 1.6, 2.5):
            assert cuts(frames[:8] + [scaled(frame, gain) for frame in frames[8:]]) == []
        assert cuts(scaled(frame, 0.3 if i % 2 else 1) for i, frame in enumerate(frames)) == []
        for length in (1, 2, 3):
            flash = [scaled(frame, 3, 60) for frame in frames[8 : 8 + length]]
            assert cuts(frames[:8] + flash + frames[8 + length :]) == []
            white = list(np.full((length, HEIGHT, WIDTH, 3), 255, np.uint8))
            assert cuts(frames[:8] + white + frames[8 + length :]) == []
        fading = [scaled(frame, 1 - i / 16) for i, frame in enumerate(frames)]
        assert cuts(fading) == []


def test_noise_and_emptiness_are_no_cut(pictures: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    noisy = [np.clip(frame + rng.normal(0, 40, frame.shape), 0, 255).astype(np.uint8) for frame in pan(pictures[0], 12, 2)]
    assert cuts(noisy) == []
    assert cuts(list(rng.integers(0, 256, (12, HEIGHT, WIDTH, 3)).astype(np.uint8))) == []
    assert cuts(list(np.full((12, HEIGHT, WIDTH, 3), 90, np.uint8))) == []
    flat = [np.full((HEIGHT, WIDTH, 3), 100 + i // 4, np.uint8) for i in range(16)]
    assert cuts(flat) == []


def test_a_thing_that_passes_is_no_cut(pictures: list[np.ndarray]) -> None:
    """Close to the camera, over most of the frame, within a few frames."""
    frames = [frame.copy() for frame in pan(pictures[1], 16, 1)]
    for i, right in enumerate((40, 130, 160), start=7):
        frames[i][:, max(0, right - 140) : right] = 40
    assert cuts(frames) == []


def test_sizes(pictures: list[np.ndarray]) -> None:
    for size in ((16, 16), (300, 16), (40, 700)):
        one, other = ([cv2.resize(frame, size) for frame in pan(picture, 6, 1)] for picture in pictures[:2])
        assert cuts(one) == []
        assert cuts(one + other) in ([6], []), "a sliver holds too little to be sure of a cut"
    assert cuts([]) == cuts(pan(pictures[0], 1, 0)) == []


def test_the_message_names_frames_and_options(tmp_path: Path) -> None:
    refuse_cuts([], list(range(20)), tmp_path)
    with pytest.raises(
        UserError, match=r"frame 8 of film.mp4 starts another shot.*--start 0 --frames 8 or --start 8 --frames 12"
    ):
        refuse_cuts([8], list(range(20)), Path("film.mp4"))
    with pytest.raises(
        UserError, match=r"frames 12, 16 and 36 of .* start another shot.*the longest with --start 16 --frames 10"
    ):
        refuse_cuts([1, 3, 13], list(range(10, 50, 2)), tmp_path)
    with pytest.raises(UserError, match=r"frames 1, 2, 3, 4, 5 and 3 more of"):
        refuse_cuts(list(range(1, 9)), list(range(12)), tmp_path)


def test_prepare_refuses_cuts_and_leaves_nothing(pictures: list[np.ndarray], tmp_path: Path) -> None:
    for i, frame in enumerate(pan(pictures[0], 8, 2) + pan(pictures[1], 6, 2)):
        write_image(tmp_path / "film" / f"{i:05d}.png", frame)
        write_image(tmp_path / "masks" / f"{i:05d}.png", np.where(frame[..., 0] > 120, 255, 0).astype(np.uint8))

    def options(**changes: object) -> PrepareOptions:
        folders = {"source": tmp_path / "film", "clip": tmp_path / "clip", "masks": str(tmp_path / "masks")}
        return PrepareOptions(**folders, quiet=True, **changes)  # type: ignore[arg-type]

    with pytest.raises(UserError, match="frame 8 of .* starts another shot.* --start 8 --frames 6"):
        prepare(options())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film", "masks"]
    assert prepare(options(start=8, frames=6)).frames == 6
    assert prepare(options(cuts="ignore")).frames == 14
    with pytest.raises(UserError, match="starts another shot"):
        prepare(options())
    assert Clip.open(tmp_path / "clip").frames == 14, "what was there stays"
