"""Ablations over any options: scripts/sweep.py CLIP... --output DIR --study fig11 | --strategy random fixed --seeds 0 1"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.sweeps.sweep import SweepOptions, sweep

if __name__ == "__main__":
    run_command(SweepOptions, sweep)
