"""Runs: frame numbers that follow one another, taken together."""

from __future__ import annotations

from collections.abc import Iterable


def runs(numbers: Iterable[int]) -> list[range]:
    """Group ascending numbers into maximal runs of consecutive ones: 0, 1, 5 are 0-1 and 5."""
    result: list[range] = []
    for number in map(int, numbers):
        if result and number == result[-1].stop:
            result[-1] = range(result[-1].start, number + 1)
        else:
            result.append(range(number, number + 1))
    return result
