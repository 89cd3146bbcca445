"""Progress of a plan: one bar for the whole, and one for each stage that runs, as its own progress file tells."""

from __future__ import annotations

import time
from pathlib import Path

from atlas.system.progress import Bar
from atlas.system.terminal import visible
from scripts.jobs.job import newest_progress
from scripts.plans.engines.protocol import Outputs
from scripts.plans.plan import Task
from scripts.plans.run import Watch
from scripts.plans.state import State

_PAUSE = 0.5  # seconds between two looks
_MOST_BARS = 8
"""Stages that are shown at once: a screen is not endless."""


class Bars(Watch):
    """Progress bars on standard error. As a context manager it closes them."""

    def __init__(self, state: State, total: int, done: int, *, quiet: bool) -> None:
        self._state, self._quiet, self._looked = state, quiet, 0.0
        self._whole = Bar("all", total, unit="task", quiet=quiet, initial=done)
        self._stages: dict[str, _StageBar] = {}
        self._failed = 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._stages.values():
            bar.close()
        self._whole.close()

    def started(self, task: Task) -> None:
        """Show a bar for the stage."""
        if len(self._stages) < _MOST_BARS and not self._quiet:
            path = Outputs.of(self._state.folder, task, None).progress
            self._stages[task.id] = _StageBar(task.title, path)

    def ended(self, task: Task, *, is_final: bool) -> None:
        """Count a stage, and take its bar away."""
        if task.id in self._stages:
            self._stages.pop(task.id).close()
        if is_final:
            self._whole.update()
            self._failed += self._state.of(task.id).state != "done"
        if self._failed:
            self._whole.note(f"{self._failed} failed")

    def tick(self) -> None:
        """Look how far the stages are."""
        if time.monotonic() - self._looked < _PAUSE:
            return
        self._looked = time.monotonic()
        for bar in self._stages.values():
            bar.look()


class _StageBar:
    """The bar of a stage that runs as another process."""

    def __init__(self, title: str, path: Path) -> None:
        self._title, self._path = visible(title), path
        self._bar = Bar(self._title, unit="step", quiet=False, leave=False)

    def look(self) -> None:
        """Show the newest line of the progress file."""
        state = newest_progress(self._path) or {}
        if not isinstance(done := state.get("done"), int):
            return
        bar, name, total = self._bar, f"{self._title}: {visible(str(state.get('name', '')))}", state.get("total")
        if bar.name != name:
            bar.rename(name)
            bar.restart()
        bar.plan(total if isinstance(total, int) else None)
        bar.update(done - bar.n)

    def close(self) -> None:
        """Take the bar from the screen."""
        self._bar.close()
