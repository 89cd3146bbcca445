"""Compare recipes of editing all frames: scripts/bench_methods.py CLIP --model MODEL [--recipes layered,diffsynth] ..."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.methods.methods import BenchMethodsOptions, printed

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stopped, it takes its copy of the clip with it
    run_command(BenchMethodsOptions, printed)
