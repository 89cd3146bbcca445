"""Print the peak memory in MB of merging an edit whose name is given: a process of its own, so that nothing else counts."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from aggregate.stage import AggregateOptions, aggregate

if __name__ == "__main__":
    folder, name, method = sys.argv[1:]
    aggregate(AggregateOptions(clip=Path(folder), edit=name, method=method, quiet=True, device="cpu"))  # type: ignore[arg-type]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
