"""Nodes of a simulated cluster: what is free on each, and which have room for a task."""

from __future__ import annotations

from random import Random

from scripts.benchmarks.scheduling.site import Site
from scripts.plans.plan import Resources


class Nodes:
    """What is free on each node, and for each kind of task which nodes have room for it."""

    def __init__(self, site: Site, random: Random) -> None:
        self._random = random
        self._free = [
            [float(site.cores), float(site.gpus if node < site.gpu_nodes else 0), float(site.memory_mb)]
            for node in range(site.nodes)
        ]
        self._open = [True] * site.nodes
        self._fitting: dict[Resources, _Numbers] = {}

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

    def _of(self, needed: Resources) -> _Numbers:
        if needed not in self._fitting:
            chosen = self._fitting[needed] = _Numbers()
            for node in range(len(self._free)):
                chosen.put(node, is_in=self._fits(node, needed))
        return self._fitting[needed]


class _Numbers:
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
