"""Run a command as a process that is never left behind, and read the last line of its log."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from atlas.system.terminal import in_one_line

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""
TAIL = 1 << 16
"""Bytes of a log, from its end, that are enough to know how a command stands."""
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


def last_line(log: Path) -> str:
    """The last line of a command's log, without "error: " or "busy: " before it: where it failed, the reason. "": none yet."""
    # A bar begins its line anew, and leaves what it showed before the message.
    lines = re.split(r"[\r\n]+", tail(log).decode(errors="replace").strip())
    return in_one_line(lines[-1].removeprefix("error: ").removeprefix("busy: "))


def tail(path: Path, most: int = TAIL) -> bytes:
    """The end of a file that may still grow, at most so many bytes; nothing where there is no file."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
            return stream.read(most)
    except OSError:
        return b""
