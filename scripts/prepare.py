"""Make a clip from a video or a folder of frames: scripts/prepare.py SOURCE CLIP [--masks DIR | auto | points:... | ...]."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.preparation.stage import PrepareOptions, prepare
from atlas.system.command import run_command


def _main(options: PrepareOptions) -> None:
    prepare(options)


if __name__ == "__main__":
    run_command(PrepareOptions, _main)
