"""All stages in order, doing only what is not up to date: scripts/run.py SOURCE CLIP --editor filter --filter recolour ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from edit.questions import answer
from scripts.pipeline.run import RunOptions, run

if __name__ == "__main__":
    run_command(RunOptions, run, answer)
