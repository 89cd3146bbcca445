"""Runs of consecutive frame numbers."""

from __future__ import annotations

import numpy as np

from atlas.clip.runs import runs


def test_runs() -> None:
    assert runs([]) == []
    assert runs([0, 2, 3]) == [range(0, 1), range(2, 4)]
    assert runs(np.flatnonzero([False, True, True, False, True])) == [range(1, 3), range(4, 5)]
