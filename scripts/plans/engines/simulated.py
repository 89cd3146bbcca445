"""Run nothing: tasks take the seconds they are said to take, by a clock that jumps. What a scheduler costs shows by it."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Task


class SimulatedEngine:
    """Machines that exist in numbers alone.

    outcome: for a task and the number of its try (from 1), how many seconds that takes and with which status it ends.
    """

    def __init__(self, workers: int, outcome: Callable[[Task, int], tuple[float, int]]) -> None:
        self._workers, self._outcome = workers, outcome
        self._clock = 0.0
        self._running: list[tuple[float, int, Ended]] = []
        self._tries: dict[str, int] = {}
        self.order: list[str] = []
        """Ids of tasks in the order in which they were started."""

    def now(self) -> float:
        """Seconds since the simulation began."""
        return self._clock

    def has_room(self, task: Task) -> bool:
        """Whether a worker is free."""
        return len(self._running) < self._workers

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task: its end is set at once."""
        tries = self._tries[task.id] = self._tries.get(task.id, 0) + 1
        seconds, status = self._outcome(task, tries)
        self.order.append(task.id)
        heapq.heappush(self._running, (self._clock + seconds, len(self.order), Ended(task.id, status, seconds, seconds)))

    def wait(self, seconds: float) -> list[Ended]:
        """Set the clock to the next end, or so many seconds on where that is earlier."""
        if not self._running or self._running[0][0] > self._clock + seconds:
            self._clock += seconds
            return []
        self._clock, _, ended = heapq.heappop(self._running)
        return [ended]

    def stop(self) -> None:
        """Forget what runs."""
        self._running.clear()
