"""State of a plan: what became of each task, in a file to which lines are only ever added.

    {"task": "3f2a...", "event": "started", "time": 1764153600.1}
    {"task": "3f2a...", "event": "ended", "status": 0, "seconds": 12.1, "cpu_seconds": 20.3, "peak_mb": 700, "made": "9c1e..."}

Replayed from the start it tells how the plan stands, whatever was killed when. A line that is torn, as a power cut leaves the
last one, counts as not written.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atlas.storage.json_text import parsed
from scripts.plans.plan import Plan, Task, state_digest

STATE = "state.jsonl"
_NUMBERS = ("status", "seconds", "cpu_seconds", "peak_mb", "time")

StateName = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass
class Record:
    """What became of a task."""

    state: StateName = "waiting"
    status: int | None = None
    """Exit status of its command; negative: the signal that killed it."""
    tries: int = 0
    """How often it was started, in all runs."""
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    line: str = ""
    """The last line that it said, where it failed."""
    made: str = ""
    """Digest of the state of what it made, when it was done."""


class State:
    """The records of a plan's tasks, kept in the plan's folder.

    made: digest of what a task made, empty where something of it is missing; by default of the files' states on this machine.
    """

    def __init__(self, folder: Path, made: Callable[[Task, State], str] | None = None) -> None:
        self.folder, self.path, self._made = folder, folder / STATE, made or _made_here
        self.records: dict[str, Record] = {}
        self._torn = _is_torn(self.path)
        for line in _lines(self.path):
            self._take(line)

    def of(self, task: str) -> Record:
        """The record of a task, by its id."""
        return self.records.get(task) or Record()

    def started(self, task: Task) -> None:
        """Write down that a task was started."""
        self._write({"task": task.id, "event": "started", "time": _now()})

    def ended(
        self,
        task: Task,
        status: int,
        *,
        line: str = "",
        seconds: float | None = None,
        cpu_seconds: float | None = None,
        peak_mb: float | None = None,
        is_final: bool = True,
        is_cancelled: bool = False,
    ) -> None:
        """Write down how a task ended. is_final: it is not tried again by itself."""
        entry: dict[str, Any] = {"task": task.id, "event": "ended" if is_final else "tried", "status": status}
        entry |= {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb, "line": line, "time": _now()}
        entry |= {"cancelled": True} if is_cancelled else {}
        entry |= {"made": self._made(task, self)} if status == 0 else {}
        self._write(entry)

    def result_path(self, task: Task) -> Path:
        """Where what a task prints is kept, if that is its result."""
        return self.folder / "results" / f"{task.id}.json"

    def products(self, task: Task) -> list[str]:
        """Files and folders that a task leaves, its result among them."""
        return [*task.makes, *([str(self.result_path(task))] if task.prints else [])]

    def is_done(self, task: Task) -> bool:
        """Whether a task was done, and what it made is as it was then."""
        record = self.of(task.id)
        return record.state == "done" and record.made == self._made(task, self)

    def missing(self, plan: Plan) -> list[Task]:
        """The tasks that are still to be done: those that are not, and all that need them."""
        left: dict[str, Task] = {}
        for task in plan:
            if any(name in left for name in task.needs) or not self.is_done(task):
                left[task.id] = task
        return list(left.values())

    def _write(self, entry: dict[str, Any]) -> None:
        # One write each: what another process or a kill leaves is a whole line, or one that is passed over. It begins with a
        # new line where the one before is torn.
        text = json.dumps({name: value for name, value in entry.items() if value is not None and value != ""}) + "\n"
        with self.path.open("ab") as stream:
            stream.write((b"\n" if self._torn else b"") + text.encode())
        self._torn = False
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        record = self.records.setdefault(entry["task"], Record())
        if entry["event"] == "started":
            record.state, record.tries, record.line = "running", record.tries + 1, ""
            return
        record.status, record.line, record.made = entry.get("status"), entry.get("line", ""), entry.get("made", "")
        record.seconds, record.cpu_seconds = entry.get("seconds"), entry.get("cpu_seconds")
        record.peak_mb = entry.get("peak_mb")
        if entry["event"] == "tried":
            record.state = "waiting"
        elif entry.get("cancelled"):
            record.state = "cancelled"
        else:
            record.state = "done" if record.status == 0 else "failed"


def _made_here(task: Task, state: State) -> str:
    return state_digest(state.products(task))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a state file; what is no record is passed over, as the file may be from anyone."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            with contextlib.suppress(ValueError):
                if _is_entry(entry := parsed(line)):
                    yield entry


def _is_torn(path: Path) -> bool:
    """Whether the last line of a file has no end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) != b"\n"


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.get("event") not in ("started", "tried", "ended"):
        return False
    texts = all(isinstance(entry.get(name, ""), str) for name in ("task", "line", "made"))
    numbers = (entry.get(name) for name in _NUMBERS)
    right = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in numbers)
    return texts and right and bool(entry.get("task"))


def _now() -> float:
    return round(time.time(), 3)
