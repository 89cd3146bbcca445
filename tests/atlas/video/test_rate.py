"""Frame rates from the times of frames, and which frame is shown when: known answers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from atlas.storage.bounds import MOST_FRAMES
from atlas.video.rate import exact_rate, frame_rate, is_variable, picked_frames

MS = Fraction(1, 1000)


def even(frames: int, fps: float) -> np.ndarray:
    return np.arange(frames + 1) / fps


def test_a_float_stands_for_its_fraction() -> None:
    assert exact_rate(30000 / 1001) == Fraction(30000, 1001)
    assert exact_rate(24.0) == 24
    assert exact_rate(12.5) == Fraction(25, 2)
    assert exact_rate(Fraction(7, 3)) == Fraction(7, 3)


def test_frames_taken() -> None:
    assert picked_frames(even(10, 24), Fraction(24), 2, 3, None) == [2, 3, 4]
    assert picked_frames(even(10, 24), Fraction(24), 0, None, 12) == [0, 2, 4, 6, 8]
    assert picked_frames(even(4, 12), Fraction(12), 0, None, 24) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert picked_frames(even(10, 30), Fraction(30), 1, 4, 20) == [1, 2, 4, 5]


def test_more_frames_than_a_clip_holds_are_not_listed() -> None:
    assert len(picked_frames(even(200_000, 24), Fraction(24), 0, None, None)) == MOST_FRAMES + 1
    assert len(picked_frames(np.array([0.0, 1e4]), Fraction(1, 10000), 0, None, 1000)) == MOST_FRAMES + 1
    assert len(picked_frames(even(200_000, 24), Fraction(24), 0, 10**9, 24)) == MOST_FRAMES + 1
    assert len(picked_frames(np.array([0.0, 1.0, 1e12]), Fraction(24), 0, None, None)) == MOST_FRAMES + 1


@pytest.mark.parametrize(
    ("times", "unit", "printed", "fps", "variable"),
    [
        (np.arange(0, 60060, 1001), Fraction(1, 30000), 29.97, Fraction(30000, 1001), False),
        (np.round(np.arange(90) * 1001 / 30), MS, 29.97, Fraction(30000, 1001), False),  # Matroska's milliseconds
        (np.round(np.arange(31) * 100 / 30), Fraction(1, 100), 30.0, Fraction(30), False),  # a GIF's hundredths
        (np.arange(100) * 1000 / 30 + np.tile([0, 4, -5, 2], 25), MS, 0.0, Fraction(30), False),  # a phone's jitter
        (np.delete(np.arange(120), [40, 41, 80]) * 512, Fraction(1, 15360), 29.25, Fraction(30), True),  # three were dropped
        (
            np.repeat(np.arange(24), 2)[:47] * 5 + np.tile([0, 2], 24)[:47],
            Fraction(1001, 60000),
            23.98,
            Fraction(24000, 1001),
            False,
        ),  # 3:2
        (np.cumsum([0, *[3, 2] * 23, 3]), Fraction(1001, 60000), 29.97, Fraction(24000, 1001), False),  # from 3 fields to 3
        (
            np.cumsum([0, *[60, 40] * 12, 160, *[40, 60] * 12]),
            Fraction(1001, 1200000),
            29.97,
            Fraction(24000, 1001),
            True,
        ),  # held once
        (np.array([0, 10, 20, 30, 230, 240, 250]), Fraction(1, 100), 2.4, Fraction(10), True),  # a GIF with a hold
        (np.append(np.arange(10) * 100, 1000 + np.arange(21) * 50), MS, 15.0, Fraction(20), True),  # 10, then 20 a second
        (np.array([0, 5000, 10000, 15000]), MS, 0.2, Fraction(1, 5), False),  # a slide show
        (np.cumsum(np.tile([3000, 1, 2999, 6000], 10)), Fraction(1, 90000), 30.3, Fraction(30), True),  # times on top of others
        (np.zeros(4), MS, 25.0, Fraction(25), True),  # no times at all
    ],
)
def test_the_rate_of_frames(times: np.ndarray, unit: Fraction, printed: float, fps: Fraction, variable: bool) -> None:
    ticks = np.round(times).astype(np.int64)
    assert frame_rate(ticks, unit, printed) == fps
    assert is_variable((ticks - ticks[0]) * float(unit), fps) == variable


def test_a_hold_is_held_and_a_burst_is_thinned() -> None:
    held = np.array([0, 10, 20, 120, 130, 160]) / 100  # the third for a second, the last for 0.3
    assert picked_frames(held, Fraction(10), 0, None, None) == [0, 1, *[2] * 10, 3, 4, 4, 4]
    assert picked_frames(held, Fraction(10), 2, 12, None) == [*[2] * 10, 3, 4]
    assert picked_frames(held, Fraction(10), 0, None, 2) == [0, 2, 2, 4]
    burst = np.array([0, 100, 104, 108, 112, 200, 300]) / 1000
    assert picked_frames(burst, Fraction(10), 0, None, None) == [0, 4, 5]
    assert picked_frames(burst, Fraction(10), 2, None, None) == [2, 5]  # the frame asked for, then by time


def test_picked_by_time_picture_and_sound_stay_together() -> None:
    """Whatever the steps: each clip frame shows what was shown at its time, half a frame of the constant rate apart."""
    rng = np.random.default_rng(1)
    times = 3.7 + np.cumsum(rng.choice([8, 17, 33, 33, 33, 400], 200)) / 1000
    ticks = np.round(times * 1000).astype(np.int64)
    fps = frame_rate(ticks, MS)
    for start in (0, 60):
        for wanted in (None, 12.0):
            picked = picked_frames(times, fps, start, None, wanted)
            for k, index in enumerate(picked):
                moment = times[start] + k / float(wanted or fps)
                assert times[index] <= moment + 0.5 / float(fps) and times[index + 1] > moment - 0.6 / float(fps)


@pytest.mark.parametrize("start", [0, 3, 7])
def test_a_start_in_even_frames_is_that_frame(start: int) -> None:
    times = np.round(even(12, 24) * 1000) / 1000 + 9.6
    assert picked_frames(times, Fraction(24), start, None, None) == list(range(start, 12))
