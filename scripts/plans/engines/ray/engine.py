"""Run tasks on the nodes of a Ray cluster."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.system.interrupt import INTERRUPTED
from atlas.system.terminal import in_one_line
from scripts.jobs.process import ROOT
from scripts.plans.engines.protocol import LOST, Ended, Outputs
from scripts.plans.engines.ray import carried
from scripts.plans.engines.ray.cluster import nodes_of
from scripts.plans.engines.ray.placing import Placing
from scripts.plans.engines.remote import Work
from scripts.plans.plan import Task, full_command

_TICK = 0.2  # seconds between two looks at what runs
_NEWS = 0.5  # seconds between two looks at what it says
_NODES = 2.0  # seconds between two looks at the nodes
_ANSWER = 10.0  # seconds in which the actor beside us answers
_PATIENCE = 30.0  # seconds that tasks have to end when they are told to: three ways are tried
_SILENCE = 10.0  # seconds after a node's death in which Ray says what became of its tasks; of one that hangs, it may not
_RETURN = 60.0  # seconds that a node has to come back, where what is left can run nowhere else


@dataclass
class _Try:
    """A task that was sent to a node."""

    task: Task
    name: str
    node: str
    """Where it was sent; once it has begun, where it is."""
    outputs: Outputs
    began: float
    has_begun: bool = False


class RayEngine:
    """Sends each task to the node that suits it best, and lets it run there once: what is tried again is the plan's business.

    What tasks print and say comes back through an actor on this node: of a disk that all share, the clips alone need be there.
    """

    def __init__(self, ray: Any, workers: int | None = None, folder: Path | None = None) -> None:
        """ray: the module, connected. workers: most tasks at once. folder: has to be seen by every node; None: none has to."""
        self._ray, self._workers, self._folder = ray, workers, folder
        ray.cloudpickle.register_pickle_by_value(carried)
        here = self._on(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=-1)(carried.Gatherer)
        self._gatherer = actor.options(scheduling_strategy=here).remote()
        # Workers are used again, also where they had a GPU: it is their children that take memory of it, and they are gone.
        self._perform = ray.remote(max_retries=0, max_calls=0)(carried.perform_for)
        self._placing, self._looked, self._took = Placing(), 0.0, 0.0
        self._running: dict[Any, _Try] = {}
        self._dead: dict[str, float] = {}
        self._started = 0
        self._lacks_since: float | None = None

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def has_room(self, task: Task) -> bool:
        """Whether a node has room now. UserError where none ever has, and nothing runs that could be waited for."""
        if self._workers is not None and len(self._running) >= self._workers:
            return False
        self._look_at_nodes()
        if self._placing.place(task):
            self._lacks_since = None
            return True
        if not self._running and (lacks := self._placing.lacks(task)):
            self._lacks_since = self._lacks_since or self.now()
            if not self._started or self.now() - self._lacks_since > _RETURN:
                raise UserError(f"no node of the cluster has {lacks}, as {task.title} needs: add one with `ray start`")
        return False

    def start(self, task: Task, outputs: Outputs) -> None:
        """Send a task to a node; it goes to another one where that has died in the meantime."""
        placed = self._placing.place(task)
        assert placed is not None  # has_room has just said so
        node, taken = placed
        outputs.log.parent.mkdir(parents=True, exist_ok=True)
        outputs.log.touch()
        outputs.progress.unlink(missing_ok=True)  # of an earlier try
        self._started += 1
        name = f"{task.id}.{self._started}"
        options: dict[str, Any] = {"num_cpus": taken.cores, "num_gpus": taken.gpus, "memory": taken.memory_mb * 2**20}
        performing = self._perform.options(name=task.title, scheduling_strategy=self._on(node, soft=True), **options)
        work = Work(task.id, tuple(full_command(task)), taken.cores, str(self._folder or ""))
        ref = performing.remote(self._gatherer, name, str(ROOT), asdict(work), outputs.result is not None)
        self._placing.started(task, node, taken)
        self._running[ref] = _Try(task, name, node, outputs, self.now())

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a task ends, at most so many seconds, and no longer than progress may stand still on the screen."""
        pause = min(max(seconds, 0), _TICK)
        if not self._running:
            time.sleep(pause)
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=pause, fetch_local=False)
        if done:
            done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        if done or self.now() - self._took > _NEWS:
            self._take_news()
        self._look_at_nodes()
        return [self._ended(ref) for ref in done] + [self._given_up(ref) for ref in self._on_dead_nodes()]

    def stop(self) -> None:
        """Tell all tasks to end, as Ctrl-C does; end the workers of those that do not, and with them what they started."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get(self._gatherer.stop.remote(), timeout=_ANSWER)
        began, is_forced = self.now(), False
        while self._running and self.now() - began < _PATIENCE + _ANSWER:
            for ref, one in list(self._running.items()):
                if not one.has_begun:  # it has not begun: there is nothing to end in order
                    self._cancel(ref, force=False)
            if self.now() - began > _PATIENCE and not is_forced:
                is_forced = True
                for ref in self._running:
                    self._cancel(ref, force=True)
            self.wait(_TICK)

    def _cancel(self, ref: Any, *, force: bool) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.cancel(ref, force=force)

    def _ended(self, ref: Any) -> Ended:
        """How a task ended that Ray has done with."""
        one = self._running.pop(ref)
        self._placing.ended(one.task.id)
        try:
            values, printed = self._ray.get(ref)
        except self._ray.exceptions.TaskCancelledError:
            return Ended(one.task.id, INTERRUPTED)
        except self._ray.exceptions.RayTaskError as problem:  # nothing was begun, or it was ended
            return self._lost(one, 1, f"{problem.cause}")
        except self._ray.exceptions.RayError as problem:
            self._looked = 0.0
            return self._lost(one, LOST, str(problem).partition("\n")[0])
        ended = Ended(*values)
        if one.outputs.result and ended.status == 0:
            one.outputs.result.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(one.outputs.result) as part:
                part.write_bytes(printed)
        return ended

    def _on_dead_nodes(self) -> list[Any]:
        """Tasks of nodes that have been dead for a while."""
        return [ref for ref, one in self._running.items() if self.now() - self._dead.get(one.node, self.now()) > _SILENCE]

    def _given_up(self, ref: Any) -> Ended:
        """Count a task as lost of which Ray says nothing. If it is still at work, the retry waits for its lease."""
        one = self._running.pop(ref)
        self._placing.ended(one.task.id)
        return self._lost(one, LOST, f"node {one.node[:8]} does not answer")

    def _lost(self, one: _Try, status: int, why: str) -> Ended:
        with one.outputs.log.open("a") as log:
            log.write(f"\nits worker ended: {in_one_line(why)[:300]}\n")
        return Ended(one.task.id, status, round(self.now() - one.began, 3))

    def _take_news(self) -> None:
        """Add what tasks have said to their files."""
        self._took = self.now()
        try:
            news = self._ray.get(self._gatherer.take.remote(), timeout=_ANSWER)
        except self._ray.exceptions.RayError:  # it is started anew, if it has died
            return
        tries = {one.name: one for one in self._running.values()}
        for name in news.keys() & tries.keys():
            log, progress, node = news[name]
            tries[name].has_begun = True
            tries[name].node = node or tries[name].node
            if log:
                with tries[name].outputs.log.open("ab") as stream:
                    stream.write(log)
            if progress:
                tries[name].outputs.progress.parent.mkdir(exist_ok=True)
                with tries[name].outputs.progress.open("a") as lines:
                    lines.write(progress + "\n")

    def _look_at_nodes(self) -> None:
        if self.now() - self._looked > _NODES:
            nodes = nodes_of(self._ray)
            gone = self._placing.nodes.keys() - {node.id for node in nodes}
            self._dead |= {node: self._dead.get(node, self.now()) for node in gone}
            self._placing.update(nodes)
            self._looked = self.now()

    def _on(self, node: str, *, soft: bool) -> Any:
        return self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft)
