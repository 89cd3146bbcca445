"""Decompose a clip into layers: scripts/fit.py CLIP [--preset preview|standard|nla] ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.command import run_command  # noqa: E402
from atlas.fit import FitOptions, fit  # noqa: E402

if __name__ == "__main__":
    run_command(FitOptions, fit)
