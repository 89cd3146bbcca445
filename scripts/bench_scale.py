"""Thousands of clips on machines that exist in numbers alone: scripts/bench_scale.py [--clips 10000] [--nodes 1000]"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.scheduling.scale import BenchScaleOptions, bench_scale

if __name__ == "__main__":
    run_command(BenchScaleOptions, bench_scale)
