"""What an engine does for a plan: it has room for tasks or has not, starts them, and tells which have ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from scripts.plans.plan import Task

LOST = 255
"""Status of a task of which nobody saw the end, as its machine, or what watched it there, died: it is tried again."""


@dataclass(frozen=True)
class Outputs:
    """Where a task's process leaves what it says."""

    log: Path
    """Standard error, and standard output where that is no result; added to at each try."""
    progress: Path
    """Lines of `atlas.system.progress`."""
    result: Path | None = None
    """Standard output, once the task is done."""

    @classmethod
    def of(cls, folder: Path, task: Task, result: Path | None) -> Outputs:
        """The outputs of a task of the plan in `folder`."""
        return cls(folder / "logs" / f"{task.id}.txt", folder / "progress" / f"{task.id}.jsonl", result)


@dataclass(frozen=True)
class Ended:
    """How one try of a task ended."""

    task: str
    """Its id."""
    status: int
    """Exit status; negative: the signal that killed it."""
    seconds: float | None = None
    cpu_seconds: float | None = None
    """Of the process and all that it waited for; None where the system does not tell."""
    peak_mb: float | None = None
    """Most main memory."""


class Engine(Protocol):
    """Runs tasks."""

    def now(self) -> float:
        """The engine's clock, in seconds."""
        ...

    def has_room(self, task: Task) -> bool:
        """Whether the task can be started now."""
        ...

    def start(self, task: Task, outputs: Outputs) -> None:
        """Start a task."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """Wait until a task ends, at most so many seconds, or less where there is progress to show; returns all that ended."""
        ...

    def stop(self) -> None:
        """End all that still runs, as Ctrl-C does, and wait for it: nothing stays behind."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """An engine whose processes go on after a task, with what that has loaded."""

    def loaded(self) -> Collection[str]:
        """Weights (`scripts.plans.weights`) that are loaded where there is room for a task.

        Of tasks that are as urgent, one that wants these is started first.
        """
        ...

    def close(self) -> None:
        """End the processes that wait for further tasks: the plan is at its end."""
        ...
