"""Splatting is measured at a size that says nothing about speed: figures are there, and of the right things."""

from __future__ import annotations

import pytest

from scripts.benchmarks.edits.splatting import BenchSplatOptions, bench_splat


def test_splatting() -> None:
    pytest.importorskip("scipy")
    found = bench_splat(BenchSplatOptions(width=64, height=48, size=160, quiet=True))
    assert found["times_faster"] > 5 and found["griddata_seconds"] > found["seconds_with_edges"]
    assert min(found["psnr"], found["psnr_with_edges"]) > found["griddata_psnr"] > 20
    assert found["holes"] == 0
