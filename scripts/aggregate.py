"""Merge an edit's keyframes into one atlas per layer: scripts/aggregate.py CLIP --edit EDIT"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

from atlas.options.aggregate import AggregateOptions
from atlas.system.command import run_command
from atlas.system.loading import keep_freed_memory, loading


def _aggregate(options: AggregateOptions) -> object:
    with loading():  # torch, when there is something to do: --help is there at once
        from aggregate.stage import aggregate

    return aggregate(options)


if __name__ == "__main__":
    keep_freed_memory()
    run_command(AggregateOptions, _aggregate)
