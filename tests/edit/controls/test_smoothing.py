"""Savitzky-Golay smoothing of key points: what it keeps, by how much it calms, what it does at gaps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import savgol_coeffs

from edit.controls.smoothing import smoothed, usual_window

TIME = np.arange(40.0)
PARABOLA = np.stack([300 + 4 * TIME - 0.3 * TIME**2, 80 - 7 * TIME + 0.2 * TIME**2], -1)  # (40, 2)


def test_the_usual_window_is_the_odd_number_nearest_to_0_3_seconds() -> None:
    assert [usual_window(fps) for fps in (24, 23.976, 25, 30, 50, 120, 15)] == [7, 7, 7, 9, 15, 37, 5]
    for fps in np.linspace(5, 130, 999):
        odd = np.arange(1, 99, 2)
        assert abs(usual_window(fps) - 0.3 * fps) <= np.abs(odd - 0.3 * fps).min() + 1e-9


@pytest.mark.parametrize("window", [3, 5, 7, 11])
def test_a_parabola_stays_to_its_ends(window: int) -> None:
    assert np.abs(smoothed(PARABOLA, window) - PARABOLA).max() < 1e-9


@pytest.mark.parametrize(("window", "factor"), [(7, 0.577), (11, 0.456)])
def test_white_noise_shrinks_as_the_coefficients_say(window: int, factor: float) -> None:
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    left = smoothed(noise, window)[window:-window].std()
    assert left == pytest.approx(np.sqrt((savgol_coeffs(window, 2) ** 2).sum()), rel=0.03)
    assert left == pytest.approx(factor, rel=0.03)


def test_short_gaps_are_bridged_by_straight_lines() -> None:
    line = np.stack([3 * TIME + 1, 50 - TIME], -1)
    holed = line.copy()
    holed[5:12] = np.nan  # as long as the window
    assert np.abs(smoothed(holed, 7) - line).max() < 1e-9
    bent = line.copy()
    bent[8:] += 60
    bent[5:8] = np.nan
    bridged = bent.copy()
    bridged[5:8] = bent[4] + (bent[8] - bent[4]) * np.array([[1], [2], [3]]) / 4
    assert np.allclose(smoothed(bent, 7), smoothed(bridged, 7))


def test_long_gaps_split_what_is_smoothed() -> None:
    rng = np.random.default_rng(1)
    series = PARABOLA + rng.normal(size=PARABOLA.shape)
    series[14:22] = np.nan  # one longer than the window
    result = smoothed(series, 7)
    assert np.isnan(result[14:22]).all()
    assert np.array_equal(result[:14], smoothed(series[:14], 7)) and np.array_equal(result[22:], smoothed(series[22:], 7))
    series[:14] += 1000
    assert np.array_equal(smoothed(series, 7)[22:], result[22:])


def test_what_is_missing_at_the_ends_stays_missing_and_points_are_their_own() -> None:
    both = np.stack([PARABOLA, PARABOLA + 1], 1)  # (40, 2 points, 2)
    both[:4, 0], both[30:, 1] = np.nan, np.nan
    result = smoothed(both, 7)
    assert np.isnan(result[:4, 0]).all() and np.isfinite(result[4:, 0]).all()
    assert np.isfinite(result[:30, 1]).all() and np.isnan(result[30:, 1]).all()
    assert np.isnan(smoothed(np.full((9, 18, 2), np.nan), 7)).all()


@pytest.mark.parametrize("length", range(1, 7))
def test_what_is_shorter_than_the_window_is_smoothed_over_fewer_frames(length: int) -> None:
    series = np.random.default_rng(length).normal(size=(length, 2))
    result = smoothed(series, 7)
    assert result.shape == series.shape and np.isfinite(result).all()
    if length <= 4:  # a parabola goes through three points
        assert np.abs(result - series).max() < 1e-9
    else:
        assert np.array_equal(result, smoothed(series, 5)) and np.abs(result - series).max() > 0.01
