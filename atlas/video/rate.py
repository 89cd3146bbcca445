"""Frame rate of a film from the times of its frames, and the resampling of frames to a constant rate by time."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np

from atlas.storage.bounds import FASTEST, MOST_FRAMES, is_rate

_MOST = 0.75
"""Share of the steps between frames that must be alike for them to be the film's own, whatever the others are."""
_ALIKE, _CLUSTER = 0.1, 0.25
"""Relative difference of steps that are alike, and of those around the quick ones of a film that has no usual step."""
_EQUAL = 0.02
"""Relative difference of steps that are the same but for rounding."""
_GLIMPSE = 1 / 250
"""Seconds: shorter steps beside others come from times that were rounded or repeated, not from motion."""
_MILLISECOND = Fraction(1, 1500)
"""Seconds: steps of finer clocks than milliseconds say exactly what is meant."""


def exact_rate(fps: Fraction | float) -> Fraction:
    """The frame rate that a float stands for: a whole number, n * 1000/1001, or the nearest simple fraction.

    Raises ValueError for a number that is no frame rate.
    """
    if not is_rate(float(fps)):
        raise ValueError(f"{float(fps):g} is no frame rate")
    if isinstance(fps, Fraction):
        return fps
    return _snapped(float(fps), 1e-6) or Fraction(float(fps)).limit_denominator(10000)


def frame_rate(
    ticks: np.ndarray,  # (N + 1,) int64
    step: Fraction,
    printed: float = 0.0,
) -> Fraction:
    """Compute the constant frame rate that frames shown at these times are best played at.

    ticks: when each frame is shown, in units of `step` seconds, and the end of the last. printed: the rate that the film's
    header claims (two decimals; 0: none), which decides between near ones such as 29.97 and 30.

    It is the mean where frames are evenly spaced, rounding and jitter apart. Where some are missing or held, it is the rate of
    the others; where there is no usual step at all, that of the quick ones, so that no motion is lost.
    """
    steps = np.diff(ticks[:-1]) if len(ticks) > 2 else np.diff(ticks)
    steps = steps[steps > 0]
    if not len(steps):
        return exact_rate(printed) if is_rate(printed) else Fraction(24)
    if (steps == steps[0]).all() and step < _MILLISECOND and 1 / (int(steps[0]) * step) <= FASTEST:
        exact = 1 / (int(steps[0]) * step)
        rounded = re.fullmatch("10+", str(step.denominator)) is not None  # a clock that no film's rate is made for
        return rounded and _snapped(float(exact), 0.5 / int(steps[0])) or exact
    mean = _mean_rate(steps, step, printed)
    usual = _usual(steps, _ALIKE)
    if len(usual) < _MOST * len(steps):
        pairs = _usual(steps[1:] + steps[:-1], _EQUAL)  # where fields are shown again, frames last 3 and 2 fields in turn
        if len(pairs) >= _MOST * (len(steps) - 1) > 0:
            return _mean_rate(pairs, step, 0.0, tolerance=1e-3, each=2)
        if not is_variable((ticks - ticks[0]) * float(step), mean):
            return mean
        seen = steps[steps * float(step) >= _GLIMPSE]
        quick = np.quantile(seen if len(seen) else steps, 0.25, method="lower")
        usual = steps[np.abs(steps - quick) <= _CLUSTER * quick]
    rate = _mean_rate(usual, step, 0.0, tolerance=1e-3)
    drift = len(steps) * abs(float(rate / mean) - 1)  # in frames, at the end of the film
    return rate if drift >= 0.5 else mean


def is_variable(
    times: np.ndarray,  # (N + 1,) float64, seconds
    fps: Fraction,
) -> bool:
    """Whether frames shown at these times (and the end of the last) are repeated or left out at a constant rate."""
    slots = _slots(times, fps)
    return bool((np.diff(slots) != 1).any())


def picked_frames(
    times: np.ndarray,  # (N + 1,) float64, seconds
    fps: Fraction,
    start: int,
    count: int | None,
    wanted_fps: float | None,
) -> list[int]:
    """Pick by time the frames shown at each clip frame: from frame `start`, at most `count` of them.

    times: when each frame of the source is shown, and the end of the last. fps: the source's constant rate (`frame_rate`), to
    which they are resampled as ffmpeg's `fps` filter does it: each frame moves to the nearest place, and is held until the
    next. wanted_fps: a clip's rate if it is another (None: the source's). Where there are more frames than a clip may have, one
    too many is returned.
    """
    count = min(count or MOST_FRAMES + 1, MOST_FRAMES + 1)
    slots = _slots(times[start:], fps)
    step = fps / Fraction(wanted_fps).limit_denominator(10000) if wanted_fps is not None else Fraction(1)
    count = min(count, -int(-int(slots[-1]) // step))  # rounded up: those that begin before the end
    shown = [k * step.numerator // step.denominator for k in range(count)]
    picked = start + np.searchsorted(slots[:-1], shown, side="right") - 1
    return [start, *picked[1:].tolist()]  # the frame asked for comes first, even where another one takes its place at once


def _slots(times: np.ndarray, fps: Fraction) -> np.ndarray:
    """Places of frames on the grid of a constant rate, and that of the end, which is behind the last: (N + 1,) int64."""
    places = (times - times[0]) * float(fps)
    slots = np.floor(np.clip(places, 0, 2.0**60) + 0.5).astype(np.int64)
    slots[-1] = max(slots[-1], slots[-2] + 1)
    return slots


def _usual(steps: np.ndarray, difference: float) -> np.ndarray:
    """The steps that are like the median one, up to rounding and a relative difference."""
    typical = float(np.median(steps)) if len(steps) else 0.0
    return steps[np.abs(steps - typical) <= max(difference * typical, 1.0 if typical >= 2 else 0.0)]


def _mean_rate(steps: np.ndarray, step: Fraction, printed: float, tolerance: float = 1e-5, each: int = 1) -> Fraction:
    """Compute frames per second from the mean of steps of `each` frames, as a usual rate if one is near enough."""
    span = int(steps.sum()) * step / each
    mean = len(steps) / float(span)
    rounding = max(1.5, float(np.std(steps))) * float(step / span)  # or jitter, of the last frame's time
    if printed and abs(printed / mean - 1) <= rounding + 0.006 / mean and (known := _snapped(printed, 0.006 / printed)):
        return known
    return _snapped(mean, max(rounding, tolerance)) or Fraction(mean).limit_denominator(1001)


def _snapped(rate: float, tolerance: float) -> Fraction | None:
    """Find the usual frame rate nearest to `rate`, within a relative tolerance."""
    usual = [
        Fraction(max(1, round(rate))),
        Fraction(max(1, round(rate * 1.001)) * 1000, 1001),
        Fraction(max(1, round(2 * rate)), 2),
    ]
    best = min(usual, key=lambda candidate: abs(float(candidate) - rate))
    return best if abs(float(best) - rate) <= tolerance * rate else None
