"""Run tasks as processes of this machine, each in a process group of its own."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from atlas.system.machine import usable_cores
from atlas.system.progress import PROGRESS_FILE
from scripts.jobs import group
from scripts.jobs.process import ROOT
from scripts.plans.engines.process import awaited, environment
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Resources, Task, full_command
from scripts.plans.weights import weights_of
from scripts.plans.worker.messages import Request
from scripts.plans.worker.pool import Pool
from scripts.plans.worker.process import Worker, suits

_PATIENCE = 10.0  # seconds that processes have to end when they are interrupted, and once more when they are told to
_TICK = 0.2  # seconds between two looks at what runs
_SHARE_OF_MEMORY = 0.9


def shares(workers: int | None) -> tuple[int, int]:
    """How many processes work at once, and the cores of each.

    workers: as asked for; None: one for each core that this process may use, as far as there is memory for usual tasks.
    """
    cores = usable_cores()
    if workers is None:
        workers = min(cores, int(_SHARE_OF_MEMORY * _memory_mb() / Resources().memory_mb))
    return max(workers, 1), max(cores // max(workers, 1), 1)


class LocalEngine:
    """Runs at most so many processes at once, as far as their memory allows.

    share: stages run one after the other in processes that stay, as far as they suit that (`scripts.plans.worker`).
    """

    def __init__(self, workers: int, *, share: bool = True) -> None:
        self._workers, self._share = workers, share
        self._running: dict[str, _Running] = {}
        self._ended: queue.SimpleQueue[tuple[Ended, bool]] = queue.SimpleQueue()
        self._pool = Pool()
        self._memory = _SHARE_OF_MEMORY * _memory_mb()

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def has_room(self, task: Task) -> bool:
        """Whether a worker is free, and memory left; a task that needs more than there is runs alone."""
        if not self._running:
            return True
        return len(self._running) < self._workers and self._room() >= task.resources.memory_mb

    def loaded(self) -> Collection[str]:
        """Weights that are loaded by processes which have nothing to do."""
        return self._pool.loaded()

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task's command, from the project's folder."""
        for path in (outputs.log, outputs.progress, outputs.result):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        outputs.progress.unlink(missing_ok=True)  # of an earlier try
        part = outputs.result and outputs.result.with_name(f".{outputs.result.name}.part")
        began = time.monotonic()

        def ended(status: int, cpu: float | None, peak: float | None, goes_on: bool = False) -> None:
            status = _kept(part, outputs, status) if part else status
            self._ended.put((Ended(task.id, status, round(time.monotonic() - began, 3), cpu, peak), goes_on))

        if self._share and suits(task):
            worker = self._in_worker(task, outputs, part, ended)
            self._running[task.id] = _Running(task, worker.pid, worker)
        else:
            self._running[task.id] = _Running(task, _alone(task, outputs, part, ended))

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a process ends, at most so many seconds, and no longer than progress may stand still on the screen."""
        ended: list[tuple[Ended, bool]] = []
        with contextlib.suppress(queue.Empty):
            ended.append(self._ended.get(timeout=min(max(seconds, 0), _TICK)))
            while True:
                ended.append(self._ended.get_nowait())
        for one, goes_on in ended:
            worker = self._running.pop(one.task).worker
            if worker is not None and goes_on:
                self._pool.give_back(worker)
        return [one for one, _ in ended]

    def stop(self) -> None:
        """Interrupt all processes and what they started; kill what does not end by that."""
        for end in (group.interrupt, group.terminate, group.kill):
            for one in self._running.values():
                end(one.leader)
            until = time.monotonic() + _PATIENCE
            while self._running and time.monotonic() < until:
                self.wait(until - time.monotonic())
            if not self._running:
                break
        self.close()

    def close(self) -> None:
        """End the processes that wait for further tasks."""
        self._pool.close(_PATIENCE)

    def _room(self) -> float:
        """Main memory that what runs leaves, in MB."""
        return self._memory - sum(one.task.resources.memory_mb for one in self._running.values())

    def _in_worker(self, task: Task, outputs: Outputs, part: Path | None, ended: _Told) -> Worker:
        """Hand a task to a process that has done others before, or will do others."""
        weights = weights_of(task)
        request = Request(task.command, str(outputs.log), str(outputs.progress), str(part) if part else None, weights)
        own = environment(task.resources.cores, outputs.progress)
        del own[PROGRESS_FILE]  # each task has its own
        while True:
            worker = self._pool.take(own, weights, outputs.log, self._room() - task.resources.memory_mb)
            if worker.begin(request, ended):
                return worker


_Told = Callable[[int, float | None, float | None, bool], None]
"""Takes how a task ended: status, processor seconds, peak of memory, and whether its process goes on."""


@dataclass(frozen=True)
class _Running:
    """A task that runs."""

    task: Task
    leader: int
    """Id of its process, which leads a group of its own."""
    worker: Worker | None = None


def _alone(task: Task, outputs: Outputs, part: Path | None, ended: _Told) -> int:
    """Start a task as a process of its own; its id."""
    with contextlib.ExitStack() as files:
        log: IO[bytes] = files.enter_context(outputs.log.open("ab"))
        result: IO[bytes] = files.enter_context(part.open("wb")) if part else log
        process = subprocess.Popen(
            full_command(task),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=result,
            stderr=log,
            env=environment(task.resources.cores, outputs.progress),
            **group.own_group(),
        )
    threading.Thread(target=lambda: ended(*awaited(process), False), name=f"await {task.title}", daemon=True).start()
    return process.pid


def _kept(part: Path, outputs: Outputs, status: int) -> int:
    """Put what a task printed in its place, if the task is done; returns its status, 1 where the disk does not let us."""
    try:
        if status == 0 and outputs.result:
            part.replace(outputs.result)
        else:
            part.unlink(missing_ok=True)
    except OSError as problem:  # nobody would hear of it in this thread, and the task never end
        with contextlib.suppress(OSError), outputs.log.open("a") as log:
            log.write(f"error: {outputs.result} cannot be written: {problem.strerror}\n")
        return status or 1
    return status


def _memory_mb() -> float:
    return float(psutil.virtual_memory().total) / 2**20
