"""Run a plan: start what is ready as soon as the engine has room, and let exit statuses decide what comes next.

0: done. 2: final, the user must change something. 3: somebody else is at work there, tried again for as long as that is so.
130: cancelled. Anything else, and a signal: tried again, three times.
"""

from __future__ import annotations

import heapq
import math
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Collection

from atlas.system.command import BUSY
from atlas.system.interrupt import INTERRUPTED
from scripts.jobs.process import last_line
from scripts.plans.engines.protocol import Ended, Engine, Keeps, Outputs
from scripts.plans.interruption import noted
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.state import State
from scripts.plans.weights import weights_of

RETRIES = 3
"""How often a task is tried again that ended by an error of the program, or by a signal."""
FINAL = 2
"""Exit status of a command that the user has to change."""
_PAUSE_BUSY, _PAUSE_RETRY = 3.0, 1.0  # seconds before a task is tried again
_LOOKED_AT = 64  # tasks that are as urgent
_LENGTHS = {"prepare": 2.0, "fit": 10.0, "edit": 4.0, "aggregate": 3.0, "render": 1.5, "evaluate": 2.0}
"""About how long the stages take against each other: the longest way to an end is begun first."""


_Entry = tuple[tuple[float, int], str]
"""How urgent a task is, less being more, its place in the plan, and its id."""


class Watch:
    """What is told of a run as it goes; by itself it does nothing with that."""

    def started(self, task: Task) -> None:
        """A task was started."""

    def ended(self, task: Task, *, is_final: bool) -> None:
        """A try of a task ended. is_final: there will be no other."""

    def tick(self) -> None:
        """A little time has passed."""


def run_plan(plan: Plan, state: State, engine: Engine, watch: Watch | None = None) -> None:
    """Do what is missing of a plan, as far as that goes: what needs a task that failed is left.

    Whatever ends it early (Ctrl-C), all processes are ended first, and counted as cancelled.
    """
    run = _Run(plan, state, engine, watch or Watch())
    with noted() as obey:
        try:
            run.to_the_end(obey)
        except BaseException:
            engine.stop()
            for task in run.running.values():
                state.ended(task, INTERRUPTED, is_cancelled=True)
            raise
        if isinstance(engine, Keeps):
            engine.close()


class _Run:
    """One run of a plan."""

    def __init__(self, plan: Plan, state: State, engine: Engine, watch: Watch) -> None:
        self.plan, self.state, self.engine, self.watch = plan, state, engine, watch
        missing = {task.id: task for task in state.missing(plan)}
        self.running: dict[str, Task] = {}
        self._waits_for = {name: sum(need in missing for need in task.needs) for name, task in missing.items()}
        self._dependants = plan.dependants()
        self._rank = {name: (-way, order) for order, (name, way) in enumerate(_ways(plan, self._dependants).items())}
        self._loaded: Callable[[], Collection[str]] = engine.loaded if isinstance(engine, Keeps) else tuple
        self._ready: dict[Resources, list[_Entry]] = defaultdict(list)
        self._later: list[tuple[float, str]] = []
        self._tries: Counter[str] = Counter()
        for name, count in self._waits_for.items():
            if not count:
                self._make_ready(name)

    def to_the_end(self, obey: Callable[[], None]) -> None:
        """Start tasks and take them as they end, until nothing is left that can be done. obey: raises what is to end it."""
        while any(self._ready.values()) or self._later or self.running:
            obey()
            now = self.engine.now()
            while self._later and self._later[0][0] <= now:
                self._make_ready(heapq.heappop(self._later)[1])
            while task := self._next():
                self._start(task)
            for ended in self.engine.wait(self._later[0][0] - now if self._later else math.inf):
                self._end(ended)
            self.watch.tick()

    def _make_ready(self, name: str) -> None:
        heapq.heappush(self._ready[self.plan.tasks[name].resources], (self._rank[name], name))

    def _next(self) -> Task | None:
        """Take the best ready task that there is room for: what waits for a GPU does not keep others from the cores."""
        for ready in sorted(filter(None, self._ready.values()), key=lambda ready: ready[0]):
            if self.engine.has_room(self.plan.tasks[ready[0][1]]):
                return self._taken(ready)
        return None

    def _taken(self, ready: list[_Entry]) -> Task:
        """Take the most urgent of tasks that are ready; of those that are as urgent, one whose weights are loaded already."""
        passed = [heapq.heappop(ready)]
        loaded = self._loaded()
        while loaded and not self._wants(passed[-1], loaded) and len(passed) < _LOOKED_AT:
            if not ready or ready[0][0][0] != passed[0][0][0]:
                break
            passed.append(heapq.heappop(ready))
        chosen = passed.pop(-1 if self._wants(passed[-1], loaded) else 0)
        for entry in passed:
            heapq.heappush(ready, entry)
        return self.plan.tasks[chosen[1]]

    def _wants(self, entry: _Entry, loaded: Collection[str]) -> bool:
        return bool(loaded) and weights_of(self.plan.tasks[entry[1]]) in loaded

    def _start(self, task: Task) -> None:
        self.state.started(task)
        self.running[task.id] = task
        result = self.state.result_path(task) if task.prints else None
        self.engine.start(task, Outputs.of(self.state.folder, task, result))
        self.watch.started(task)

    def _end(self, ended: Ended) -> None:
        task = self.running.pop(ended.task)
        pause = self._pause(task, ended.status)
        line = _reason(self.state, task, ended.status)
        self.state.ended(
            task,
            ended.status,
            line=line,
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_mb=ended.peak_mb,
            is_final=pause is None,
            is_cancelled=ended.status in _INTERRUPTED,
        )
        self.watch.ended(task, is_final=pause is None)
        if pause is not None:
            heapq.heappush(self._later, (self.engine.now() + pause, task.id))
        elif ended.status == 0:
            for name in self._dependants[task.id]:
                self._waits_for[name] -= 1
                if not self._waits_for[name]:
                    self._make_ready(name)

    def _pause(self, task: Task, status: int) -> float | None:
        """Seconds after which a task is tried again; None: it is not."""
        if status == BUSY:
            return _PAUSE_BUSY
        if status in (0, FINAL) or status in _INTERRUPTED:
            return None
        self._tries[task.id] += 1
        return _PAUSE_RETRY if self._tries[task.id] <= RETRIES else None


_INTERRUPTED = (INTERRUPTED, -signal.SIGINT)


def _reason(state: State, task: Task, status: int) -> str:
    """Why a task ended as it did, in a line; nothing where it is done."""
    if status == 0 or status in _INTERRUPTED:
        return ""
    if status < 0:
        return f"killed by {_signal(-status)}"
    return last_line(Outputs.of(state.folder, task, None).log)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ways(plan: Plan, dependants: dict[str, list[str]]) -> dict[str, float]:
    """For each task how long the longest way is from it to an end, in the order of the plan."""
    ways: dict[str, float] = {}
    for task in reversed(list(plan)):
        ways[task.id] = _LENGTHS.get(task.stage, 1.0) + max((ways[name] for name in dependants[task.id]), default=0.0)
    return {name: ways[name] for name in plan.tasks}
