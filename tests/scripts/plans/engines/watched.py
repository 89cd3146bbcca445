"""What tests see of the processes of stages while they run, and when they have gone."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from atlas.clip.clip import Clip

Found = TypeVar("Found")


def in_a_fit(process: subprocess.Popen[str], clip: Clip) -> psutil.Process:
    """The process that fits a clip, once it is at work and a part is done."""

    def found() -> psutil.Process | None:
        if not list((clip.folder / "fits" / "default" / "resume").glob("*.safetensors")):
            return None
        return next((one for one in psutil.process_iter() if is_fit(one, clip)), None)

    return soon(found, process)


def is_fit(process: psutil.Process, clip: Clip) -> bool:
    """Whether a process fits a clip."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[1:2] == ["scripts/fit.py"] and is_at_work(process, clip)
    return False


def is_at_work(process: psutil.Process, clip: Clip) -> bool:
    """Whether a process is a stage's of a clip, or its guard."""
    with contextlib.suppress(psutil.Error):
        return str(clip.folder) in process.cmdline()
    return False


def is_interrupted(process: psutil.Process) -> bool:
    """Whether an interrupt waits for a process that is stopped."""
    about = Path(f"/proc/{process.pid}/status")
    if not about.exists():  # another system, which does not tell
        time.sleep(5)
        return True
    pending = [line.split()[1] for line in about.read_text().splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in pending)


def ray_of(inside: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    """The worker that watches a stage, and the raylet of its node."""
    guard = inside.parent()
    assert guard is not None and any(word.endswith("guard.py") for word in guard.cmdline())
    worker = guard.parent()
    assert worker is not None
    raylet = worker.parent()
    assert raylet is not None and "raylet" in raylet.name()
    return worker, raylet


def soon(found: Callable[[], Found | None], process: subprocess.Popen[str]) -> Found:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None
        if seen := found():
            return seen
        time.sleep(0.02)
    raise AssertionError("it did not come")


def gone(process: psutil.Process) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False
