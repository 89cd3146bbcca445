"""Merge an edit's keyframes into one atlas per layer: scripts/aggregate.py CLIP --edit EDIT"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aggregate.aggregate import AggregateOptions, aggregate  # noqa: E402
from atlas.command import run_command  # noqa: E402

if __name__ == "__main__":
    run_command(AggregateOptions, aggregate)
