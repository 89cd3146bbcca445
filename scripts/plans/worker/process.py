"""A worker as its engine sees it: a process that takes a task, tells how it ended, or dies with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.jobs import group
from scripts.jobs.process import ROOT
from scripts.plans.engines.process import awaited
from scripts.plans.options import STAGES
from scripts.plans.plan import Task
from scripts.plans.worker.messages import Answer, Request

_COMMANDS = {(f"scripts/{stage}.py",) for stage in STAGES} | {("-m", "scripts.sweeps.variant"), ("-m", "scripts.sweeps.share")}
"""Beginnings of commands that leave their process as they found it; others get one of their own."""


def suits(task: Task) -> bool:
    """Whether a task may run in a worker."""
    return task.command[:1] in _COMMANDS or task.command[:2] in _COMMANDS


class Worker:
    """A process that does one task after the other."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it. log: of its first task; there it says why it cannot begin."""
        self.environment, self.weights, self.held_mb, self.on_gpu = dict(environment), "", 0.0, False
        self._told = 0.0  # processor seconds that answers have told of
        self._ended: Callable[[int, float | None, float | None, bool], None] | None = None
        self._lock, self._is_dead = threading.Lock(), False
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "scripts.plans.worker.serve"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=self.environment,
                **group.own_group(),
            )
        self._reader = threading.Thread(target=self._read, name=f"worker {self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process, which leads a group of its own."""
        return self._process.pid

    def begin(self, request: Request, ended: Callable[[int, float | None, float | None, bool], None]) -> bool:
        """Hand it a task; False where it has died.

        ended: is called in another thread, with exit status, processor seconds, peak of memory in MB, and whether the worker
        takes another task.
        """
        with self._lock:
            if self._is_dead:
                return False
            self._ended, self.weights = ended, request.weights
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has died just now, and the pipe may be closed: its reader tells
            self._process.stdin.write(request.line())
            self._process.stdin.flush()
        return True

    def retire(self) -> None:
        """Let it end after what it does."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def join(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; returns whether it has."""
        self._reader.join(seconds)
        return not self._reader.is_alive()

    def _read(self) -> None:
        """Take answers until the process ends, and then its own end, where a task dies with it."""
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                try:
                    answer = Answer.of(line)
                except (ValueError, TypeError):  # half a line
                    continue
                self._told += answer.cpu_seconds
                self.held_mb, self.on_gpu = answer.held_mb, answer.on_gpu
                self._tell(answer.status, answer.cpu_seconds, answer.peak_mb, answer.goes_on)
        status, cpu, peak = awaited(self._process)
        with self._lock:
            self._is_dead = True
        self.retire()
        # One that has not answered did not come to the end of its task, whatever status it left.
        self._tell(status or 1, None if cpu is None else max(cpu - self._told, 0.0), peak, False)

    def _tell(self, status: int, cpu: float | None, peak: float | None, goes_on: bool) -> None:
        with self._lock:
            ended, self._ended = self._ended, None
        if ended is not None:
            ended(status, cpu, peak, goes_on)
