"""One keyframe into an atlas, against SciPy's griddata for each channel: scripts/bench_splat.py"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.edits.splatting import BenchSplatOptions, printed

if __name__ == "__main__":
    run_command(BenchSplatOptions, printed)
