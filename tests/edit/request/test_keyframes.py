"""Choosing keyframes: numbers as typed, and the frames that cover most."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.coverage import Visibility, covered_share, visibility
from atlas.maps.maps import Maps
from edit.request.keyframes import automatic_count, chosen, listed, named, outwards


def test_numbers_are_sorted_and_taken_once() -> None:
    assert listed("24, 0,12,0", 25) == [0, 12, 24]


@pytest.mark.parametrize("text", ["", "a", "-1", "1.5", "0;3", "auto:2", "9" * 5000])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="is not understood"):
        listed(text, 25)


def test_a_number_past_the_end_names_the_last_frame() -> None:
    with pytest.raises(UserError, match="keyframe 25 is past the end: the clip has frames 0 to 24"):
        listed("0,25", 25)


def test_automatic_count() -> None:
    assert automatic_count("auto:3") == 3
    assert automatic_count("auto") == 5
    assert automatic_count("0,3") is None
    for wrong in ("auto:0", "auto:x", "automatic", "auto:" + "9" * 5000):
        with pytest.raises(UserError, match="is not understood"):
            automatic_count(wrong)


def test_what_is_not_named_is_chosen_by_coverage() -> None:
    assert named("3, 1", 5) == [1, 3]
    assert named(None, 5) is None and named("", 5) is None and named("auto:2", 5) is None
    with pytest.raises(UserError, match="keyframe 5 is past the end"):
        named("5", 5)


def test_the_best_frames_are_found() -> None:
    # Texels weigh what is seen of them over the clip: frame 1 sees the most, frame 3 the most of the rest.
    seen = Visibility(np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 9, 9]], np.uint16))
    assert seen.choose(1) == [3]
    assert seen.choose(2) == [1, 3]
    assert seen.share([1, 3]) == 1
    assert seen.share([1]) == pytest.approx(6 / 25)
    assert seen.best_addition([1]) == (3, pytest.approx(19 / 25))


def test_equal_frames_are_spread_over_time() -> None:
    still = Visibility(np.ones((9, 4), np.uint16))
    assert still.choose(3) == [0, 4, 8]
    assert Visibility(np.ones((3, 4), np.uint16)).choose(5) == [0, 1, 2]


def test_only_frames_that_show_the_layer_are_chosen() -> None:
    """It enters late and leaves early: nothing is gained by a second frame, and still an empty one is none."""
    counts = np.zeros((9, 4), np.uint16)
    counts[[3, 4, 5]] = 1
    counts[6, 2] = 1
    seen = Visibility(counts)
    assert seen.choose(2) == [3, 6] and seen.choose(5) == [3, 4, 5, 6]
    assert seen.best_addition([3]) == (6, 0.0)
    assert chosen("auto:9", seen) == [3, 4, 5, 6] and Visibility(counts[3:6]).choose(5) == [0, 1, 2]


def test_greedy_choice_is_close_to_the_best_one(sample_clip: Clip) -> None:
    seen = visibility(Maps(sample_clip.fit_folder("truth")), "background")
    best = max(seen.share(list(pair)) for pair in combinations(range(12), 2))
    assert seen.share(seen.choose(2)) >= 0.97 * best


def test_coarse_and_exact_shares_agree(sample_clip: Clip) -> None:
    maps = Maps(sample_clip.fit_folder("truth"))
    everything = np.ones(maps.atlas_size("background"), np.float32)
    assert covered_share(maps, "background", everything) == 1
    assert covered_share(maps, "background", everything * 0) == 0


def test_keyframes_are_taken_from_the_best_outwards() -> None:
    counts = np.zeros((5, 8), np.uint16)
    for frame, texels in enumerate([(0, 1), (1, 2, 3), (3, 4, 5, 6), (5, 6, 7), (7,)]):
        counts[frame, list(texels)] = 1
    assert outwards([0, 1, 2, 3, 4], Visibility(counts)) == [2, 3, 4, 1, 0]
