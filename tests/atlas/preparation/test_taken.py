"""Which frames are taken of a film whose frames are held, and how many are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from atlas.errors import UserError
from atlas.preparation.taken import open_taken


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 frames of 0.02 s, then 20 that are held for two seconds each."""
    path = tmp_path_factory.mktemp("taken") / "long.gif"
    first, *others = (Image.new("L", (16, 16), index % 250) for index in range(320))
    first.save(path, save_all=True, append_images=others, duration=[20] * 300 + [2000] * 20)
    return path


@pytest.mark.parametrize(
    ("frames", "fps", "indices"),
    [
        (4, None, [3, 4, 5, 6]),
        (9, 2.0, [3, 28, 53, 78, 103, 128, 153, 178, 203]),  # the frames first listed give too few, so more are
    ],
)
def test_of_a_long_film_only_what_is_needed_is_decoded(film: Path, frames: int, fps: float | None, indices: list[int]) -> None:
    source, taken = open_taken(film, 3, frames, fps)
    assert taken == indices and source.video and not source.video.whole and source.frames < 320
    whole, same = open_taken(film, 3, frames, fps, whole=True)
    assert same == indices and whole.frames == 320


def test_frames_that_are_held_are_repeated(film: Path) -> None:
    assert open_taken(film, 299, 250, None)[1] == [299, *[300] * 100, *[301] * 100, *[302] * 49]
    assert open_taken(film, 299, 4, 0.5)[1] == [299, 300, 301, 302]


@pytest.mark.parametrize(
    ("start", "frames", "fps", "said"),
    [
        (500, 4, None, "--start 500 is past the end: .* has 320 frames"),
        (0, 3000, None, "--frames 3000 is too many: .* gives 2300 from frame 0 on"),
        (310, 50, None, "holds frame 310 for all that time, a fit needs at least two: take more with --frames"),
        (310, 5, 10.0, "--fps 10 repeats one single frame"),
        (0, None, 0.01, "gives one single frame from frame 0 on"),
    ],
)
def test_what_is_refused(film: Path, start: int, frames: int | None, fps: float | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_taken(film, start, frames, fps)
