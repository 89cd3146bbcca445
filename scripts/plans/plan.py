"""Plan: a graph of stage commands, each known by a digest of its command and of what it is made from; plan.json holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.storage.stamps import digest, files_below, read_json, write_json

VERSION = 1
PLAN = "plan.json"
_LONGEST_ID = 16
MOST_TASKS = 50_000
_LARGEST = 500_000_000  # bytes of plan.json


@dataclass(frozen=True)
class Resources:
    """What a task takes of a machine."""

    cores: int = 1
    """Processor cores: as many threads it is given."""
    gpus: float = 0.0
    """GPUs, or a fraction of one."""
    memory_mb: int = 2000
    """Main memory at its peak."""


@dataclass(frozen=True)
class Task:
    """A stage's command, and where it stands in the graph."""

    id: str
    stage: str
    """Name of the command: prepare, fit, edit, ..."""
    command: tuple[str, ...]
    """Arguments of Python, from the project's folder: scripts/fit.py CLIP ..."""
    clip: str
    """Folder of the clip that it works in."""
    title: str
    """What people call it: `fit swan`, `render swan red`."""
    needs: tuple[str, ...] = ()
    """Ids of the tasks that it is made from."""
    makes: tuple[str, ...] = ()
    """Files and folders that are there once it is done. Where one has been changed since, it is to be done again."""
    prints: bool = False
    """Whether what it prints is its result, and is kept as results/ID.json."""
    resources: Resources = Resources()

    @classmethod
    def of(
        cls,
        stage: str,
        command: Iterable[str],
        clip: Path,
        title: str,
        *,
        pinned: Iterable[str] = (),
        needs: Iterable[Task] = (),
        reads: Iterable[Path] = (),
        makes: Iterable[Path] = (),
        prints: bool = False,
        resources: Resources = Resources(),  # noqa: B008
    ) -> Task:
        """Make a task, named by the digest of its command, of the tasks it needs, and of the state of the files it reads.

        pinned: further words of the command that say where it computes; they are no part of its name, so that a plan goes on
        elsewhere. reads: files and folders from outside of the plan, by name, size and time.
        """
        words, needed = tuple(command), tuple(task.id for task in needs)
        name = digest(VERSION, words, needed, [state_of(path) for path in reads])[:_LONGEST_ID]
        return cls(name, stage, (*words, *pinned), str(clip), title, needed, tuple(map(str, makes)), prints, resources)


@dataclass
class Plan:
    """Tasks by id, in the order in which they were added: each after what it needs."""

    tasks: dict[str, Task] = field(default_factory=dict)

    def add(self, task: Task) -> Task:
        """Add a task, or find the one that is there already: what several edits share is done once."""
        if missing := [name for name in task.needs if name not in self.tasks]:
            raise ValueError(f"{task.title} needs {missing[0]}, which is not in the plan yet")
        return self.tasks.setdefault(task.id, task)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def __len__(self) -> int:
        return len(self.tasks)

    def dependants(self) -> dict[str, list[str]]:
        """For each task the ids of those that need it."""
        dependants: dict[str, list[str]] = {name: [] for name in self.tasks}
        for task in self:
            for name in task.needs:
                dependants[name].append(task.id)
        return dependants

    def write(self, folder: Path, about: dict[str, Any]) -> bool:
        """Write plan.json; returns whether it was another one before, or none. about: what whoever made it asks for later."""
        if len(self) > MOST_TASKS:
            raise UserError(f"the plan has {len(self)} tasks, more than {MOST_TASKS}: divide its clips or its rows")
        path = folder / PLAN
        before = path.read_bytes() if path.is_file() else b""
        write_json(path, {"version": VERSION, "about": about, "tasks": [asdict(task) for task in self]})
        return path.read_bytes() != before

    @classmethod
    def read(cls, folder: Path) -> tuple[Plan, dict[str, Any]]:
        """Read plan.json: the plan, and what stands about it. UserError where there is none, or it is damaged."""
        path = folder / PLAN
        if not path.is_file():
            raise UserError(f"{folder} holds no {PLAN}: name the folder that a batch or a sweep writes to")
        data = read_json(path, largest=_LARGEST)
        try:
            if data["version"] != VERSION:
                raise UserError(f"{path} is of another version of this program: run the batch or the sweep again")
            plan = cls()
            for saved in data["tasks"]:
                resources = Resources(**saved.pop("resources"))
                listed: dict[str, Any] = {name: tuple(saved.pop(name)) for name in ("command", "needs", "makes")}
                plan.add(Task(**saved, **listed, resources=resources))
            return plan, dict(data["about"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path} is damaged: run the batch or the sweep again, which writes it anew") from None


def stage_command(stage: str, arguments: Iterable[str]) -> list[str]:
    """The command of a stage, as a user would type it behind `python`."""
    return [f"scripts/{stage}.py", *arguments, "--quiet"]


def state_of(path: Path) -> list[Any]:
    """Name, size and time of a file, or of all files in a folder: what tells, without reading them, whether one has changed."""
    try:
        about = path.stat()
    except OSError:
        return [str(path)]
    if not path.is_dir():
        return [str(path), about.st_size, about.st_mtime_ns]
    states = ((name, file.stat()) for name, file in files_below(path))
    return [str(path), [[name, state.st_size, state.st_mtime_ns] for name, state in states]]


def state_digest(paths: Iterable[str]) -> str:
    """Digest of the states of files and folders; empty where one is missing."""
    states = [state_of(Path(path)) for path in paths]
    return "" if any(len(state) == 1 for state in states) else digest(states)[:_LONGEST_ID]


def full_command(task: Task) -> list[str]:
    """The command with this Python before it."""
    return [sys.executable, *task.command]
