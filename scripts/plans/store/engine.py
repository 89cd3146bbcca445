"""Engine around another one, for clips in a store: tasks run between bringing a clip and taking it back."""

from __future__ import annotations

import contextlib
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from scripts.plans.engines.protocol import Ended, Engine, Outputs
from scripts.plans.plan import Task
from scripts.plans.store.driver import SHOWN, THREADS, Stored
from scripts.plans.store.remote import StoreError
from scripts.plans.store.report import Report

_LOOK = 0.05  # seconds between two looks at what is being taken from the store


class StoredEngine:
    """Runs tasks by another engine, each between bringing its clip and taking it back."""

    def __init__(self, inner: Engine, stored: Stored) -> None:
        self._inner, self._stored = inner, stored
        self._running: dict[str, _Try] = {}
        self._pool = ThreadPoolExecutor(THREADS)
        self._taking: dict[Future[None], Ended] = {}

    def now(self) -> float:
        """The engine's clock."""
        return self._inner.now()

    def has_room(self, task: Task) -> bool:
        """Whether the engine has room."""
        return self._inner.has_room(task)

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task's command with all that goes before and after it."""
        report = f"{task.id}-{secrets.token_hex(4)}"
        self._running[task.id] = _Try(task, outputs, report, _size(outputs.log))
        self._inner.start(self._stored.wrapped(task, report), outputs)

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a task ends; what it printed and said, and its film, are here then."""
        for ended in self._inner.wait(min(seconds, _LOOK) if self._taking else seconds):
            done = self._running.pop(ended.task)
            self._taking[self._pool.submit(self._take, done, ended.status)] = ended
        # Each takes some requests' time: of many machines many end meanwhile.
        there = [future for future in self._taking if future.done()]
        for future in there:
            future.result()
        return [self._taking.pop(future) for future in there]

    def stop(self) -> None:
        """End all that runs."""
        self._inner.stop()

    def _take(self, done: _Try, status: int) -> None:
        """Take from the store what an engine on other machines does not leave here."""
        task, outputs = done.task, done.outputs
        report = Report.read(self._stored.remote, done.report)
        with contextlib.suppress(StoreError):
            self._stored.remote.remove(f"reports/{done.report}.json")
        if report is None:
            return
        if report.said and _size(outputs.log) <= done.log_size:
            outputs.log.parent.mkdir(parents=True, exist_ok=True)
            with outputs.log.open("a", encoding="utf-8") as log:
                log.write(report.said)
        if status != 0 or report.status != 0:
            return
        self._stored.reports[task.id] = report
        if outputs.result is not None:
            with atomic_file(outputs.result) as temporary:
                temporary.write_text(report.result, encoding="utf-8")
        if task.stage == SHOWN:
            with contextlib.suppress(UserError):  # the next run tries again, and says why
                self._stored.bring([task])


@dataclass(frozen=True)
class _Try:
    """A task that runs."""

    task: Task
    outputs: Outputs
    report: str
    """What its report is called."""
    log_size: int
    """Bytes of its log before."""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
