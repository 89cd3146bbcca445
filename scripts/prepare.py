"""Make a clip from a video or a folder of frames: scripts/prepare.py SOURCE CLIP [--masks DIR | auto | box:x,y,w,h]."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.command import run_command  # noqa: E402
from atlas.prepare import PrepareOptions, prepare  # noqa: E402


def _main(options: PrepareOptions) -> None:
    prepare(options)


if __name__ == "__main__":
    run_command(PrepareOptions, _main)
