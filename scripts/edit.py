"""Edit a layer: scripts/edit.py CLIP --name EDIT --layer LAYER --editor diffusion|images|filter|atlas ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from atlas.system.loading import loading
from edit.editors import EditOptions
from edit.questions import answer


def _edit(options: EditOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from edit.stage import edit

    return edit(options)


if __name__ == "__main__":
    run_command(EditOptions, _edit, answer)
