"""What each stage of a clip costs: scripts/bench_stages.py SOURCE [--masks DIR] [--frames 12] [--output stages.json]"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.scheduling.stages import BenchStagesOptions, bench_stages

if __name__ == "__main__":
    run_command(BenchStagesOptions, bench_stages)
