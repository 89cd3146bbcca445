"""Let the stages of a clip take turns, where a clip's folder is one machine's at a time; other clips go on beside them."""

from __future__ import annotations

from collections import deque

from scripts.plans.engines.protocol import Ended, Engine, Outputs
from scripts.plans.plan import Task


class Turns:
    """Runs tasks by another engine, of each clip one at a time: what is started while another one runs is held back."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self._taken: set[str] = set()
        """Clips at which a task runs, or is about to."""
        self._clips: dict[str, str] = {}
        """Of tasks that run, by their ids."""
        self._held: dict[str, deque[tuple[Task, Outputs]]] = {}
        self._next: deque[tuple[Task, Outputs]] = deque()
        """Held back until now, their clips free."""

    def now(self) -> float:
        """The engine's clock."""
        return self._inner.now()

    def has_room(self, task: Task) -> bool:
        """Whether the engine has room, and nothing that was held back waits for it."""
        self._start_next()
        return not self._next and self._inner.has_room(task)

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task, or hold it back while another one of its clip runs."""
        if task.clip in self._taken:
            self._held.setdefault(task.clip, deque()).append((task, outputs))
            return
        self._taken.add(task.clip)
        self._clips[task.id] = task.clip
        self._inner.start(task, outputs)

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a task ends; the next one of its clip is started as soon as there is room."""
        self._start_next()
        ended = self._inner.wait(seconds)
        for one in ended:
            clip = self._clips.pop(one.task)
            if held := self._held.get(clip):
                self._next.append(held.popleft())
                if not held:
                    del self._held[clip]
            else:
                self._taken.discard(clip)
        self._start_next()
        return ended

    def stop(self) -> None:
        """End all that runs; what was held back is not begun."""
        self._held.clear()
        self._next.clear()
        self._inner.stop()

    def _start_next(self) -> None:
        while self._next and self._inner.has_room(self._next[0][0]):
            task, outputs = self._next.popleft()
            self._clips[task.id] = task.clip
            self._inner.start(task, outputs)
