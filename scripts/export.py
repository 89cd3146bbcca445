"""Write a fit for compositing programs: scripts/export.py CLIP [--edit EDIT] --output DIR"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.options.export import ExportOptions
from atlas.system.command import run_command
from atlas.system.loading import loading


def _export(options: ExportOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from atlas.rendering.export import export

    return export(options)


if __name__ == "__main__":
    run_command(ExportOptions, _export)
