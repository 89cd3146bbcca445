"""Make the frames of an edit agree: scripts/deflicker.py CLIP --edit EDIT --with atlas|patches|prior|flow"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from atlas.system.loading import loading
from edit.deflicker.options import DeflickerOptions


def _deflicker(options: DeflickerOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from edit.deflicker.stage import deflicker

    return deflicker(options)


if __name__ == "__main__":
    run_command(DeflickerOptions, _deflicker)
