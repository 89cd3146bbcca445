"""Decompose a clip into layers: scripts/fit.py CLIP [--preset preview|standard|nla] ..."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.options.fit import FitOptions
from atlas.system.command import run_command
from atlas.system.loading import loading


def _fit(options: FitOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from atlas.fitting.stage import fit

    return fit(options)


if __name__ == "__main__":
    run_command(FitOptions, _fit)
