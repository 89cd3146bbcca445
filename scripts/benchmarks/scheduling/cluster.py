"""Cluster that exists in numbers alone: nodes, a disk or a store, failures and stragglers, by a clock that jumps.

It is an engine of plans, so that what is simulated is run by the scheduler itself. Whatever all share, the scheduler, the disk,
a node's network, serves one after the other, at its own pace.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from atlas.system.command import BUSY
from scripts.benchmarks.scheduling.nodes import Nodes
from scripts.benchmarks.scheduling.site import Site, StageCost
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Task

_KILLED = -9
_NOTICED = 30.0  # seconds after which a node that is gone is noticed
_THREADS = 8  # requests of a task under way at once
_STARTING = 1.0  # seconds in which a stage finds that its clip is another's


@dataclass
class _Try:
    """A task that runs."""

    task: Task
    node: int
    cost: StageCost
    scale: float
    began: float
    computing: float = 0.0
    up: float = 0.0


@dataclass
class Totals:
    """Sums over a simulation."""

    brought: float = 0.0
    taken_back: float = 0.0
    puts: float = 0.0
    gets: float = 0.0
    core_seconds: float = 0.0
    """Of tries that ended well."""
    gpu_seconds: float = 0.0
    lost_seconds: float = 0.0
    """Of those that did not."""
    moving_seconds: float = 0.0
    """In which tasks waited for bytes and requests."""
    queueing_seconds: float = 0.0
    """In which tasks waited for the scheduler."""
    ends: Counter[str] = field(default_factory=Counter)
    at_home: int = 0
    """Tasks that were started where their clip had been last."""
    disk_seconds: float = 0.0
    """In which the disk or the store gave all that it can."""
    scheduler_seconds: float = 0.0


class Cluster:
    """Runs tasks on simulated nodes.

    cost: what a task takes of a usual clip; scale: how long its clip is against a usual one.
    """

    def __init__(self, site: Site, cost: Callable[[Task], StageCost], scale: Callable[[str], float], random: Random) -> None:
        self._site, self._cost, self._scale, self._random = site, cost, scale, random
        self._clock = 0.0
        self._events: list[tuple[float, int, str, int]] = []
        self._count = 0
        self._tries: dict[int, _Try] = {}
        self._ended: list[Ended] = []
        self._is_back = False
        self._scheduler = self._disk = 0.0
        """When these are free again."""
        self._network = [0.0] * site.nodes
        self._pace = [3.0 if random.random() < site.slow else 1.0 for _ in range(site.nodes)]
        self._nodes = Nodes(site, random)
        self._homes: dict[str, int] = {}
        self._there: dict[tuple[str, int], tuple[float, float]] = {}
        """MB and files that a node has of a clip."""
        self._made: dict[str, tuple[float, float]] = {}
        """MB and files that a clip has."""
        self._claimed: dict[str, float] = {}
        self.totals = Totals()
        for node in range(site.nodes if site.failures else 0):
            self._later(self._lifetime(), "fail", node)

    def now(self) -> float:
        """Seconds since the simulation began."""
        return self._clock

    def has_room(self, task: Task) -> bool:
        """Whether a node has what the task takes."""
        return self._nodes.has(task.resources)

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task on the node that had its clip last, or on any other that has room."""
        home = self._homes.get(task.clip)
        node = self._nodes.take(task.resources, home if self._site.affinity else None)
        self.totals.at_home += node == home
        self._homes[task.clip] = node
        number = self._count
        self._tries[number] = _Try(task, node, self._cost(task), self._scale(task.clip), self._clock)
        self._later(self._scheduled(), "fetch", number)

    def wait(self, seconds: float) -> list[Ended]:
        """Set the clock to the next end, or to a node's being back, or so many seconds on where that is earlier."""
        until, self._is_back = self._clock + seconds, False
        while not self._ended and not self._is_back and self._events and self._events[0][0] <= until:
            self._clock, _, kind, number = heapq.heappop(self._events)
            _KINDS[kind](self, number)
        if not self._ended and not self._is_back and seconds < math.inf:
            self._clock = until
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Forget what runs."""
        self._tries.clear()

    def _later(self, time: float, kind: str, number: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, kind, number))

    def _scheduled(self) -> float:
        """When the scheduler has done half of what it does for a task."""
        took = self._site.scheduler_ms / 2000
        self._scheduler = max(self._scheduler, self._clock) + took
        self.totals.scheduler_seconds += took
        self.totals.queueing_seconds += self._scheduler - self._clock
        return self._scheduler

    def _fetch(self, number: int) -> None:
        if (one := self._tries.get(number)) is None:
            return
        if self._site.is_store and self._claimed.get(one.task.clip, 0.0) > self._clock:
            self._later(self._clock + _STARTING, "busy", number)
            return
        mb, files = one.cost.read_bytes * one.scale / 1e6, 0.0
        if self._site.is_store:
            mb, files = self._made.get(one.task.clip, (0.0, 0.0))
            had, had_files = self._there.get((one.task.clip, one.node), (0.0, 0.0))
            mb, files = mb - had, files - had_files + one.cost.gets
        mb += one.cost.outside_bytes * one.scale / 1e6
        self.totals.brought += mb
        self.totals.gets += files
        self._later(self._moved(one.node, mb, files), "compute", number)

    def _compute(self, number: int) -> None:
        if (one := self._tries.get(number)) is None:
            return
        spread = self._site.spread
        drawn = math.exp(self._random.gauss(-spread * spread / 2, spread)) * self._pace[one.node]
        one.computing = one.cost.cpu_seconds * one.scale * drawn
        if self._random.random() < self._site.crashes:
            self._later(self._clock + one.computing * self._random.random(), "crash", number)
        else:
            self._later(self._clock + one.computing, "give", number)

    def _give(self, number: int) -> None:
        if (one := self._tries.get(number)) is None:
            return
        one.up = one.cost.bytes_up * one.scale / 1e6
        self.totals.taken_back += one.up
        self.totals.puts += one.cost.puts if self._site.is_store else 0.0
        self._later(self._moved(one.node, one.up, one.cost.puts), "done", number)

    def _moved(self, node: int, mb: float, requests: float) -> float:
        """When bytes have been moved, after all that asked for the disk, or the node's network, before."""
        site, began = self._site, self._clock
        self._disk = max(self._disk, began) + mb / site.shared_mb
        self._network[node] = max(self._network[node], began) + mb / site.node_mb
        latency = requests * site.request_ms / 1000 / _THREADS if site.is_store else 0.0
        end = max(self._disk, self._network[node], began + latency)
        self.totals.disk_seconds += mb / site.shared_mb
        self.totals.moving_seconds += end - began
        return end

    def _done(self, number: int) -> None:
        if (one := self._tries.get(number)) is None:
            return
        clip = one.task.clip
        mb, files = self._made.get(clip, (0.0, 0.0))
        self._made[clip] = mb + one.up, files + one.cost.puts
        if self._site.is_store:
            self._there[clip, one.node] = self._made[clip]
        self.totals.core_seconds += one.computing * one.task.resources.cores
        self.totals.gpu_seconds += one.computing * one.task.resources.gpus
        self._end(number, 0, "done")

    def _crash(self, number: int) -> None:
        if number in self._tries:
            self._end(number, _KILLED, "crashed")

    def _busy(self, number: int) -> None:
        if number in self._tries:
            self._end(number, BUSY, "busy")

    def _end(self, number: int, status: int, why: str) -> None:
        one = self._tries.pop(number)
        self._nodes.give(one.node, one.task.resources)
        self.totals.ends[why] += 1
        if status != 0:
            self.totals.lost_seconds += self._clock - one.began
        self._scheduled()
        self._ended.append(Ended(one.task.id, status, self._clock - one.began, one.computing))

    def _fail(self, node: int) -> None:
        """A node is gone, and all that ran on it, as is noticed after a while."""
        self._nodes.close(node)
        for number in [number for number, one in self._tries.items() if one.node == node]:
            one = self._tries[number]
            self._claimed[one.task.clip] = self._clock + self._site.expires
            self._tries[-number - 1] = self._tries.pop(number)
            self._later(self._clock + _NOTICED, "lost", -number - 1)
        self.totals.ends["nodes failed"] += 1
        for key in [key for key in self._there if key[1] == node] if self._site.is_store else ():
            del self._there[key]
        self._later(self._clock + self._site.repair, "back", node)

    def _lost(self, number: int) -> None:
        if number in self._tries:
            self._end(number, _KILLED, "lost")

    def _back(self, node: int) -> None:
        self._nodes.open(node)
        self._is_back = True
        self._later(self._clock + self._lifetime(), "fail", node)

    def _lifetime(self) -> float:
        return self._random.expovariate(1 / (self._site.failures * 3600))


_KINDS: Mapping[str, Callable[[Cluster, int], None]] = {
    name: getattr(Cluster, f"_{name}") for name in ("fetch", "compute", "give", "done", "crash", "busy", "fail", "lost", "back")
}
