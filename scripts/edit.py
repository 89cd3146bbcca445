"""Edit keyframes of a layer: scripts/edit.py CLIP --name EDIT --layer LAYER --editor images|filter|atlas ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.command import run_command  # noqa: E402
from edit.edit import edit  # noqa: E402
from edit.request import EditOptions  # noqa: E402

if __name__ == "__main__":
    run_command(EditOptions, edit)
