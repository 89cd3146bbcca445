"""Placing: which node of a cluster a task runs on, by what is free there and what was done there before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from scripts.plans.plan import Resources, Task
from scripts.plans.weights import weights_of

_SLACK = 1e-6  # thirds of a GPU do not add up to one


@dataclass(frozen=True)
class Node:
    """What a machine of a cluster has, or has left."""

    id: str
    cores: float
    gpus: float
    memory_mb: float
    is_ours: bool = False
    """Whether the plan itself is run there, which others spare."""

    def holds(self, wanted: Resources) -> bool:
        """Whether there is enough of everything."""
        enough = self.cores + _SLACK >= wanted.cores and self.gpus + _SLACK >= wanted.gpus
        return enough and self.memory_mb + _SLACK >= wanted.memory_mb

    def less(self, taken: Resources, times: int = 1) -> Node:
        """What is left when something is taken so many times; -1: given back."""
        cores, gpus = self.cores - times * taken.cores, self.gpus - times * taken.gpus
        return replace(self, cores=cores, gpus=gpus, memory_mb=self.memory_mb - times * taken.memory_mb)


@dataclass
class Placing:
    """Keeps what runs on each node, and chooses where the next task goes."""

    nodes: dict[str, Node] = field(default_factory=dict)
    _free: dict[str, Node] = field(default_factory=dict)
    _running: dict[str, tuple[str, Resources]] = field(default_factory=dict)
    """By a task's id its node, and what it takes there."""
    _last: dict[str, str] = field(default_factory=dict)
    """By what a task touches (its clip, its weights) the node that did so last."""

    def update(self, nodes: Iterable[Node]) -> None:
        """Take the nodes that are alive now."""
        self.nodes = {node.id: node for node in nodes}
        self._free = dict(self.nodes)
        for node, taken in self._running.values():
            if node in self._free:
                self._free[node] = self._free[node].less(taken)

    def place(self, task: Task) -> tuple[str, Resources] | None:
        """The node for a task, and what it takes there; None where none has room now.

        Among nodes with room: the one that worked on the clip, then one that loaded the same weights, then the emptiest.
        """
        wanted = self._capped(task.resources)
        roomy = [node for node in self._free.values() if node.holds(wanted)]
        if not roomy:
            return None
        clip, weights = self._last.get(task.clip), self._last.get(weights_of(task))

        def rank(node: Node) -> tuple[bool, bool, bool, float]:
            busy = -node.cores / max(self.nodes[node.id].cores, _SLACK)
            return node.id != clip, node.id != weights, node.is_ours, busy

        return min(roomy, key=rank).id, wanted

    def lacks(self, task: Task) -> str:
        """What no node has and a task cannot do without; of cores and memory it takes what there is. Empty: nothing."""
        gpus = task.resources.gpus
        if not any(node.cores >= 1 for node in self.nodes.values()):
            return "a core for stages"
        if not any(node.gpus + _SLACK >= gpus and node.cores >= 1 for node in self.nodes.values()):
            return f"{gpus:g} GPU"
        return ""

    def started(self, task: Task, node: str, taken: Resources) -> None:
        """A task was sent to a node."""
        self._running[task.id] = node, taken
        self._free[node] = self._free[node].less(taken)
        for key in _touched(task):
            self._last[key] = node

    def ended(self, task: str) -> None:
        """A task has left its node."""
        node, taken = self._running.pop(task)
        if node in self._free:
            self._free[node] = self._free[node].less(taken, -1)

    def _capped(self, wanted: Resources) -> Resources:
        """What a task takes: no more than a node has."""
        possible = [node for node in self.nodes.values() if node.gpus + _SLACK >= wanted.gpus and node.cores >= 1]
        if not possible or any(node.holds(wanted) for node in possible):
            return wanted
        largest = max(possible, key=lambda node: (node.memory_mb, node.cores))
        cores, memory = min(wanted.cores, int(largest.cores)), min(wanted.memory_mb, int(largest.memory_mb))
        return replace(wanted, cores=cores, memory_mb=memory)


def _touched(task: Task) -> list[str]:
    """What a node has at hand after a task: the clip, and the weights, which it has in memory or nearer than others."""
    return [task.clip, *filter(None, [weights_of(task)])]
