"""Tone curves of ICC profiles: how much light a stored number stands for (ICC.1:2022, 10.6 curveType, 10.18 parametric)."""

from __future__ import annotations

import numpy as np

_MOST_TAGS = 200
_PARAMETERS = (1, 3, 4, 5, 7)  # of the kinds of parametric curves


def tone_curve(
    profile: bytes,
    name: bytes,  # rTRC, gTRC, bTRC or kTRC
) -> np.ndarray | None:  # (65536,) float32: light of each 16-bit number
    """Read a tone curve of a profile as a table; None where it has none of that name, or a damaged one."""
    tag = _tag(profile, name)
    kind, stored = tag[:4], np.linspace(0, 1, 65536)
    if kind == b"curv":
        count = int.from_bytes(tag[8:12], "big")
        values = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(np.float64)
        if len(values) < count:
            return None
        if count > 1:
            return np.interp(stored, np.linspace(0, 1, count), values / 65535).astype(np.float32)
        return (stored ** (values[0] / 256 if count else 1)).astype(np.float32)
    function = int.from_bytes(tag[8:10], "big")
    if kind != b"para" or function >= len(_PARAMETERS):
        return None
    numbers = [
        int.from_bytes(tag[at : at + 4], "big", signed=True) / 65536 for at in range(12, 12 + 4 * _PARAMETERS[function], 4)
    ]
    return _parametric(function, numbers, stored)


def _parametric(function: int, numbers: list[float], stored: np.ndarray) -> np.ndarray | None:
    gamma, a, b, c, d, e, f = numbers + [0.0] * (7 - len(numbers))
    if function == 0:
        a = 1.0
    if a == 0:
        return None
    if function < 3:  # flat up to where the power begins
        flat = c if function == 2 else 0.0
        c, d, e, f = 0.0, -b / a, flat, flat
    power = np.maximum(a * stored + b, 0) ** gamma + e
    return np.clip(np.where(stored >= d, power, c * stored + f), 0, 1).astype(np.float32)


def _tag(profile: bytes, name: bytes) -> bytes:
    """A tag's content, from the table that follows the header; empty where there is none."""
    for number in range(min(int.from_bytes(profile[128:132], "big"), _MOST_TAGS)):
        entry = profile[132 + 12 * number : 144 + 12 * number]
        if entry[:4] == name:
            start, size = int.from_bytes(entry[4:8], "big"), int.from_bytes(entry[8:12], "big")
            return profile[start : start + size]
    return b""
