"""What is sent to a job of Slurm, as code: it may not find this project until it is told where it lies.

So this file imports nothing of it, and what goes to and fro is plain values.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def perform_for(root: str, work: dict[str, Any], outputs: list[str | None]) -> tuple[Any, ...]:
    """Run a task in this job, from the project's folder; returns how it ended."""
    sys.path.insert(0, root)
    from scripts.plans.engines.protocol import Outputs
    from scripts.plans.engines.remote import Work, perform

    log, progress, result = (None if path is None else Path(path) for path in outputs)
    assert log is not None and progress is not None
    ended = perform(Work(**work), Outputs(log, progress, result), lambda: False)
    return ended.task, ended.status, ended.seconds, ended.cpu_seconds, ended.peak_mb
