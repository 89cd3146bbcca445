"""Measure fits and edits: scripts/bench.py CLIP... [--parts fits,edits,flicker,methods] [--seconds 60,120] ..."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.benchmarks.bench import BenchOptions, bench

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stopped, it takes what it waits for with it
    run_command(BenchOptions, bench)
