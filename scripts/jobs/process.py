"""Run a command as a process that is never left behind, and read the last line of its log."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""
_PATIENCE = 10.0  # seconds that a process has to end when it is told to


def run_process(command: list[str], log: Path, result: Path | None = None) -> int:
    """Run a command as a process that is never left behind; returns its exit status.

    What it prints goes to `log`; its result apart, if wanted.
    """
    with log.open("w") as stream, result.open("w") if result else contextlib.nullcontext(stream) as output:
        # From the folder of the code, where `-m` finds it.
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=stream)
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it may have a process of its own to end
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def last_line(path: Path) -> str:
    """The last line of a process's log: where it failed, the reason."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else ""
