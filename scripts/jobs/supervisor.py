"""Supervisor of one job: runs its command, and writes its exit status beside its log, whoever started it and has ended since.

scripts/jobs/supervisor.py FOLDER COMMAND...   It is run as a file of its own and loads the standard library alone, so that
it is there at once and stays small. An interrupt of the process group is for the command: the supervisor sees it end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

JOB, STATUS = "job.json", "status.json"
TOUCHED = 5.0
"""Seconds between two touches of job.json, by which other machines see that the job lives."""


def supervise(folder: Path, command: list[str]) -> None:
    """Run `command` to its end; then write status.json: its exit status (negative: the signal that killed it) and the time."""
    early: list[int] = []
    # A handler, and not SIG_IGN, which the command would inherit: it could not be interrupted then.
    for name in ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: early.append(number))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for number in early if sys.platform != "win32" else ():  # what came before the command was there, and it never saw
        process.send_signal(number)
    while True:
        try:
            status = process.wait(TOUCHED)
            break
        except subprocess.TimeoutExpired:
            _touch(folder / JOB)
    write_status(folder, status)


def write_status(folder: Path, status: int) -> None:
    """Write how a job ended, whole or not at all."""
    temporary = folder / f".{STATUS}-{os.getpid()}"
    temporary.write_text(json.dumps({"status": status, "ended": round(time.time(), 3)}) + "\n")
    temporary.replace(folder / STATUS)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):  # the folder was deleted while the job ran
        os.utime(path)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]), sys.argv[2:])
