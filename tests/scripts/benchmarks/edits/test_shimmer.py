"""Shimmer is measured at a size that says little: figures are there, and of the right things."""

from __future__ import annotations

import pytest

from atlas.errors import UserError
from scripts.benchmarks.edits.shimmer import BenchShimmerOptions, bench_shimmer


def test_shimmer() -> None:
    found = bench_shimmer(BenchShimmerOptions(frames=6, width=96, height=64, squares="1,6", quiet=True))
    assert [one["square"] for one in found["squares"]] == [1, 6]
    assert found["worst_ratio"] == max(one["ratio"] for one in found["squares"]) <= 1.2
    assert found["squares"][0]["true_warp_error"] > found["squares"][0]["warp_error"] > 0


@pytest.mark.parametrize("squares", ["", "0", "-1", "2,x"])
def test_squares_that_are_none(squares: str) -> None:
    with pytest.raises(UserError, match="--squares"):
        bench_shimmer(BenchShimmerOptions(squares=squares))
