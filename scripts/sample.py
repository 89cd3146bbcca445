"""Build the sample clip: footage made of real photographs, with its true layers beside it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.sample.files import SampleOptions, build_sample
from atlas.system.command import run_command

if __name__ == "__main__":
    run_command(SampleOptions, build_sample)
