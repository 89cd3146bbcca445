"""Run tasks as processes of this machine, each in a process group of its own."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from typing import IO

import psutil

from atlas.system.machine import usable_cores
from scripts.jobs import group
from scripts.jobs.process import ROOT
from scripts.plans.engines.process import awaited, environment
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Resources, Task, full_command

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
    """Runs at most so many processes at once, as far as their memory allows."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._running: dict[str, tuple[Task, int]] = {}
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._memory = _SHARE_OF_MEMORY * _memory_mb()

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def has_room(self, task: Task) -> bool:
        """Whether a worker is free, and memory left; a task that needs more than there is runs alone."""
        if not self._running:
            return True
        taken = sum(other.resources.memory_mb for other, _ in self._running.values())
        return len(self._running) < self._workers and taken + task.resources.memory_mb <= self._memory

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task's command, from the project's folder."""
        for path in (outputs.log, outputs.progress, outputs.result):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        outputs.progress.unlink(missing_ok=True)  # of an earlier try
        part = outputs.result and outputs.result.with_name(f".{outputs.result.name}.part")
        with contextlib.ExitStack() as files:
            log: IO[bytes] = files.enter_context(outputs.log.open("ab"))
            result: IO[bytes] = files.enter_context(part.open("wb")) if part else log
            began = time.monotonic()
            process = subprocess.Popen(
                full_command(task),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                env=environment(task.resources.cores, outputs.progress),
                **group.own_group(),
            )
        self._running[task.id] = task, process.pid

        def await_end() -> None:
            status, cpu, peak = awaited(process)
            if part and outputs.result:
                if status == 0:
                    part.replace(outputs.result)
                else:
                    part.unlink(missing_ok=True)
            self._ended.put(Ended(task.id, status, round(time.monotonic() - began, 3), cpu, peak))

        threading.Thread(target=await_end, name=f"await {task.title}", daemon=True).start()

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a process ends, at most so many seconds, and no longer than progress may stand still on the screen."""
        ended: list[Ended] = []
        with contextlib.suppress(queue.Empty):
            ended.append(self._ended.get(timeout=min(max(seconds, 0), _TICK)))
            while True:
                ended.append(self._ended.get_nowait())
        for one in ended:
            del self._running[one.task]
        return ended

    def stop(self) -> None:
        """Interrupt all processes and what they started; kill what does not end by that."""
        for end in (group.interrupt, group.terminate, group.kill):
            for _, leader in self._running.values():
                end(leader)
            until = time.monotonic() + _PATIENCE
            while self._running and time.monotonic() < until:
                self.wait(until - time.monotonic())
            if not self._running:
                return


def _memory_mb() -> float:
    return float(psutil.virtual_memory().total) / 2**20
