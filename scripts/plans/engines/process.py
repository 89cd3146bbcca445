"""A task's process: the environment that it is given, and what it cost once it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from atlas.system.machine import CORES
from atlas.system.progress import PROGRESS_FILE
from scripts.jobs import group

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def environment(cores: int, progress: Path) -> dict[str, str]:
    """This process's environment, for one that works with so many threads and writes its progress to a file."""
    threads = dict.fromkeys((CORES, *_THREADS), str(cores))
    # Threads that spin while they wait take the cores of the other tasks.
    return {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | threads | {PROGRESS_FILE: str(progress)}


def awaited(process: subprocess.Popen[bytes]) -> tuple[int, float | None, float | None]:
    """Wait for a process; its exit status, processor seconds and peak of memory, and nothing of its group is left."""
    if sys.platform == "win32":
        return process.wait(), None, None
    if hasattr(os, "waitid"):  # not yet collected, its number is nobody else's
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        group.kill(process.pid)
    _, ended, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return process.returncode, round(used.ru_utime + used.ru_stime, 3), round(peak, 1)
