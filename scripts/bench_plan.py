"""What a plan of many tasks costs by itself: scripts/bench_plan.py [--tasks 10000] [--workers 1000]"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.scheduling.overhead import BenchPlanOptions, bench_plan

if __name__ == "__main__":
    run_command(BenchPlanOptions, bench_plan)
