"""Edit many clips in many ways: scripts/batch.py jobs.yaml [--workers N]; how it stands: scripts/batch.py status DIR"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.system.command import run_command
from scripts.batches.batch import BatchOptions, StatusOptions, batch, status

if __name__ == "__main__":
    if sys.argv[1:2] == ["status"]:
        del sys.argv[1]
        run_command(StatusOptions, status)
    run_command(BatchOptions, batch)
