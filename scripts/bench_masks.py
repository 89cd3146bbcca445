"""Hold masks that were found against given ones: scripts/bench_masks.py FOLDER... [--masks auto]."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.masks.overlap import BenchMasksOptions, printed

if __name__ == "__main__":
    run_command(BenchMasksOptions, printed)
