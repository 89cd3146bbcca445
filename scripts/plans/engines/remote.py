"""Run a task's command on another machine: guarded, so that nothing outlives the process that watches it, and measured."""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scripts.jobs import group
from scripts.jobs.process import ROOT
from scripts.plans.engines.process import awaited, environment
from scripts.plans.engines.protocol import Ended, Outputs

GUARD = Path(__file__).with_name("guard.py")
_TICK = 0.5  # seconds between two looks
_PATIENCE = 10.0  # seconds that a command has to end when it is interrupted, and once more when it is told to
_FINAL = 2


@dataclass(frozen=True)
class Work:
    """What a task does, as it is told to another machine."""

    task: str
    """Its id."""
    command: tuple[str, ...]
    cores: int = 1
    folder: str = ""
    """A folder that has to be there, as the disk is shared; "": it need not be."""


def perform(work: Work, outputs: Outputs, tick: Callable[[], bool]) -> Ended:
    """Run a command to its end. It is called in a process's main thread: the command lives no longer than that.

    tick: called twice a second; whether the command is to be interrupted.
    """
    began = time.monotonic()
    for path in (outputs.log, outputs.progress, outputs.result):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if problem := _missing(work):
        with outputs.log.open("a") as log:
            log.write(f"error: {problem}\n")
        return Ended(work.task, _FINAL, 0.0)
    outputs.progress.unlink(missing_ok=True)  # of an earlier try
    # Under a name of its own: an earlier try may still be alive on a node that is out of reach.
    part = outputs.result and outputs.result.with_name(f".{outputs.result.name}.{secrets.token_hex(4)}.part")
    with contextlib.ExitStack() as files:
        stream: IO[bytes] = files.enter_context(outputs.log.open("ab"))
        result: IO[bytes] = files.enter_context(part.open("wb")) if part else stream
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *work.command],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # it ends with this process
            stdout=result,
            stderr=stream,
            env=environment(work.cores, outputs.progress),
            **group.own_group(),
        )
    try:
        status, cpu, peak = _watched(process, tick)
    except BaseException:
        group.kill(process.pid)
        if part:
            part.unlink(missing_ok=True)
        raise
    if part and outputs.result and status == 0:
        part.replace(outputs.result)
    elif part:
        part.unlink(missing_ok=True)
    return Ended(work.task, status, round(time.monotonic() - began, 3), cpu, peak)


def _watched(process: subprocess.Popen[bytes], tick: Callable[[], bool]) -> tuple[int, float | None, float | None]:
    """Wait for a process as `awaited` does; interrupt it once `tick` says so, and harder where that does not end it."""
    ends: queue.SimpleQueue[tuple[int, float | None, float | None]] = queue.SimpleQueue()
    threading.Thread(target=lambda: ends.put(awaited(process)), name="await", daemon=True).start()
    ways, next_way = iter((group.interrupt, group.terminate, group.kill)), 0.0
    while True:
        with contextlib.suppress(queue.Empty):
            return ends.get(timeout=_TICK)
        if tick() and time.monotonic() >= next_way and (way := next(ways, None)):
            way(process.pid)
            next_way = time.monotonic() + _PATIENCE


def _missing(work: Work) -> str:
    """What this machine lacks for a command, and what to do about it; empty: nothing."""
    python = work.command[0]
    if not os.access(python, os.X_OK):
        return f"{platform.node()} has no {python}: install this project at the same path on every node"
    if work.folder and not Path(work.folder).is_dir():
        return f"{platform.node()} does not see {work.folder}: put it and the clips on a disk that all nodes share"
    return ""
