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
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Resources, Task

_KILLED = -9
_NOTICED = 30.0  # seconds after which a node that is gone is noticed
_THREADS = 8  # requests of a task under way at once
_STARTING = 1.0  # seconds in which a stage finds that its clip is another's


@dataclass(frozen=True)
class StageCost:
    """What a stage of a clip of usual length costs."""

    cpu_seconds: float
    peak_mb: float
    read_bytes: float
    """Of its clip, file by file, that it reads."""
    bytes_up: float
    """That it writes."""
    puts: float
    gets: float
    """Requests where the clip is there already."""
    bring_bytes: float
    """That the clip has before it."""
    bring_gets: float
    outside_bytes: float = 0.0
    """That it reads from outside of its clip: the source."""
    gpus: float = 0.0


@dataclass(kw_only=True)
class Site:
    """Machines, and what they share."""

    nodes: int = 1000
    cores: int = 16
    memory_mb: int = 64_000
    gpu_nodes: int = 0
    """Nodes that have GPUs."""
    gpus: int = 4
    """Of each of those."""
    is_store: bool = False
    """Whether clips are brought from a store, and lie on the node that had them last; else all nodes share a disk."""
    shared_mb: float = 10_000.0
    """MB a second of the disk or the store, for all nodes together."""
    node_mb: float = 1000.0
    """MB a second of a node's network."""
    request_ms: float = 0.0
    """Of a request to the store."""
    affinity: bool = True
    """Whether a task is started where its clip was last, if there is room."""
    scheduler_ms: float = 0.25
    """That the scheduler takes for a task, in all."""
    spread: float = 0.3
    """Standard deviation of the logarithm of a stage's seconds."""
    slow: float = 0.02
    """Share of nodes that take three times as long."""
    failures: float = 1000.0
    """Hours after which a node fails, in the mean; 0: none does."""
    crashes: float = 0.001
    """Share of tries that end by a signal."""
    repair: float = 600.0
    """Seconds after which a node is back, with an empty disk."""
    expires: float = 110.0
    """Seconds for which the claim of a node that failed keeps others from its clips in a store."""


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
        self._nodes = _Nodes(site, random)
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


class _Nodes:
    """What is free on each node, and for each kind of task which nodes have room for it."""

    def __init__(self, site: Site, random: Random) -> None:
        self._random = random
        self._free = [
            [float(site.cores), float(site.gpus if node < site.gpu_nodes else 0), float(site.memory_mb)]
            for node in range(site.nodes)
        ]
        self._open = [True] * site.nodes
        self._fitting: dict[Resources, _Chosen] = {}

    def has(self, needed: Resources) -> bool:
        """Whether any node has room."""
        return len(self._of(needed)) > 0

    def take(self, needed: Resources, home: int | None) -> int:
        """Take what a task needs, on its home where that has room."""
        fitting = self._of(needed)
        node = home if home is not None and home in fitting else fitting.any(self._random)
        self._change(node, needed, -1)
        return node

    def give(self, node: int, taken: Resources) -> None:
        """Give it back."""
        self._change(node, taken, 1)

    def close(self, node: int) -> None:
        """Start nothing more on a node."""
        self._open[node] = False
        self._look(node)

    def open(self, node: int) -> None:
        """Start tasks there again."""
        self._open[node] = True
        self._look(node)

    def _change(self, node: int, needed: Resources, sign: int) -> None:
        free = self._free[node]
        free[0] += sign * needed.cores
        free[1] += sign * needed.gpus
        free[2] += sign * needed.memory_mb
        self._look(node)

    def _look(self, node: int) -> None:
        for needed, fitting in self._fitting.items():
            fitting.put(node, is_in=self._fits(node, needed))

    def _fits(self, node: int, needed: Resources) -> bool:
        cores, gpus, memory = self._free[node]
        return self._open[node] and cores >= needed.cores and gpus >= needed.gpus and memory >= needed.memory_mb

    def _of(self, needed: Resources) -> _Chosen:
        if needed not in self._fitting:
            chosen = self._fitting[needed] = _Chosen()
            for node in range(len(self._free)):
                chosen.put(node, is_in=self._fits(node, needed))
        return self._fitting[needed]


class _Chosen:
    """A set of numbers of which any one is drawn at once."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def any(self, random: Random) -> int:
        """One of them."""
        return self._numbers[int(random.random() * len(self._numbers))]

    def put(self, number: int, *, is_in: bool) -> None:
        """Put a number in, or take it out."""
        if is_in and number not in self._places:
            self._places[number] = len(self._numbers)
            self._numbers.append(number)
        elif not is_in and number in self._places:
            place, last = self._places.pop(number), self._numbers.pop()
            if last != number:
                self._numbers[place], self._places[last] = last, place
