"""Import a trained Layered Neural Atlases model as a clip with a fit: scripts/import_nla.py FOLDER CLIP [--frames DIR] ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.nla.importing import ImportOptions, import_nla
from atlas.system.command import run_command

if __name__ == "__main__":
    run_command(ImportOptions, import_nla)
