"""Compare architectures on one clip: scripts/compare_architectures.py CLIP [--seconds 60] [--truth DIR] [--json FILE]"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.command import run_command  # noqa: E402
from atlas.compare_architectures import CompareOptions, compare  # noqa: E402

if __name__ == "__main__":
    run_command(CompareOptions, compare)
