"""Workers that wait for a task: which one takes it, and which are to give back what they hold."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from scripts.jobs import group
from scripts.plans.worker.process import Worker

_MOST_MB = 1500.0
"""Main memory that a worker may hold between two tasks, weights apart: one that has grown beyond that is replaced."""


class Pool:
    """The workers of an engine: those at work, and those that wait."""

    def __init__(self) -> None:
        self._waiting: list[Worker] = []
        self._all: list[Worker] = []

    def take(self, environment: Mapping[str, str], weights: str, log: Path, room_mb: float) -> Worker:
        """A worker for a task: one that has its weights loaded, or else none, or a new one.

        log: where a new one says why it cannot begin. room_mb: main memory for those that go on waiting: what holds more, or
        memory of a GPU, is told to end.
        """
        self._retire([one for one in self._waiting if one.environment != environment])
        chosen = next((one for one in self._waiting if one.weights == weights), None)
        chosen = chosen or next((one for one in self._waiting if not one.weights), None)
        if chosen is None and self._waiting:
            if self._waiting[0].held_mb <= _MOST_MB:
                chosen = self._waiting[0]  # it lets its own go
            else:
                self._retire(self._waiting[:1])
        if chosen is not None:
            self._waiting.remove(chosen)
        self._retire([one for one in self._waiting if one.on_gpu])
        while sum(one.held_mb for one in self._waiting) > room_mb and self._waiting:
            self._retire(self._waiting[:1])
        return chosen or self._started(environment, log)

    def give_back(self, worker: Worker) -> None:
        """Let a worker wait for its next task, unless it holds too much."""
        self._waiting.append(worker)
        if not worker.weights and worker.held_mb > _MOST_MB:
            self._retire([worker])

    def loaded(self) -> set[str]:
        """Weights that waiting workers have loaded."""
        return {one.weights for one in self._waiting if one.weights}

    def close(self, patience: float) -> None:
        """End all workers, none of which is at work, and wait for that; kill those that take longer than so many seconds."""
        until = time.monotonic() + patience
        self._retire(list(self._waiting))
        for worker in self._all:
            if not worker.join(max(until - time.monotonic(), 0.0)):
                group.kill(worker.pid)
                worker.join(patience)
        self._all.clear()

    def _started(self, environment: Mapping[str, str], log: Path) -> Worker:
        self._all = [one for one in self._all if not one.join(0.0)]
        worker = Worker(environment, log)
        self._all.append(worker)
        return worker

    def _retire(self, workers: list[Worker]) -> None:
        for worker in workers:
            worker.retire()
            self._waiting.remove(worker)
