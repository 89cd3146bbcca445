"""Smoothing of key points over time: what trembles from frame to frame becomes quiet, what moves goes on moving."""

from __future__ import annotations

import numpy as np
from scipy.signal import savgol_filter

_SECONDS = 0.3
_ORDER = 2


def usual_window(fps: float) -> int:
    """Choose how many frames are smoothed over: the odd number nearest to 0.3 seconds, 7 at 24 frames a second."""
    return 2 * max(0, round((_SECONDS * fps - 1) / 2)) + 1


def smoothed(
    tracks: np.ndarray,  # (T, ..., 2), NaN where missing
    window: int,  # frames, odd
) -> np.ndarray:  # (T, ..., 2)
    """Smooth tracks of points with a Savitzky-Golay filter (1964) of order 2: a parabola through each window of frames.

    Gaps of at most `window` frames are bridged by straight lines first; longer ones stay, and what lies before and after
    them is smoothed apart. What is shorter than the window is smoothed over fewer frames.
    """
    result = np.full(tracks.shape, np.nan)
    series, smooth = tracks.reshape(len(tracks), -1, 2), result.reshape(len(tracks), -1, 2)
    for number in range(series.shape[1]):
        known = np.flatnonzero(np.isfinite(series[:, number]).all(-1))
        for part in np.split(known, np.flatnonzero(np.diff(known) > window + 1) + 1):
            if len(part):
                frames = np.arange(part[0], part[-1] + 1)
                bridged = np.stack([np.interp(frames, part, series[part, number, axis]) for axis in (0, 1)], -1)
                smooth[frames, number] = _filtered(bridged, window)
    return result


def _filtered(series: np.ndarray, window: int) -> np.ndarray:  # (n, 2) both
    window = min(window, len(series) - 1 + len(series) % 2)
    return series if window <= _ORDER else savgol_filter(series, window, _ORDER, axis=0, mode="interp")
