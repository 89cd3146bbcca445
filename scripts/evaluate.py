"""Measure a fit and an edit: scripts/evaluate.py CLIP [--fit FIT] [--edit EDIT [--report]] [--json]"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.options.evaluate import EvaluateOptions
from atlas.system.command import run_command
from atlas.system.loading import loading


def _evaluate(options: EvaluateOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from atlas.evaluation.report import printed

    return printed(options)


if __name__ == "__main__":
    run_command(EvaluateOptions, _evaluate)
