"""Table of a plan: a row for each edit, a column for each stage, and a line for each that failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.system.terminal import in_one_line
from scripts.plans.options import STAGES
from scripts.plans.plan import Plan, Task
from scripts.plans.state import Record, State


@dataclass(frozen=True)
class Row:
    """An edit of a plan, or the fit of a clip without edits."""

    clip: str
    edit: str
    tasks: tuple[Task, ...]
    """All that it takes, in order; shared ones stand in several rows."""

    def of(self, stage: str) -> list[Task]:
        """Its tasks of one stage."""
        return [task for task in self.tasks if task.stage == stage]


def rows_of(plan: Plan, about: dict[str, Any]) -> list[Row]:
    """The rows that a batch wrote down about its plan, each with all tasks that it takes."""
    rows = []
    for saved in about["rows"]:
        own = [plan.tasks[name] for name in saved["tasks"]]
        rows.append(Row(str(saved["clip"]), str(saved["edit"]), tuple(with_needs(plan, own))))
    return rows


def with_needs(plan: Plan, tasks: Iterable[Task]) -> list[Task]:
    """Tasks and all that they are made from, each after what it needs."""
    found: dict[str, Task] = {}

    def add(task: Task) -> None:
        if task.id not in found:
            for name in task.needs:
                add(plan.tasks[name])
            found[task.id] = task

    for task in tasks:
        add(task)
    return list(found.values())


def table(rows: Sequence[Row], state: State, *, is_running: bool) -> str:
    """Lay out how a plan stands, as text to read."""
    heading = ["clip", "edit", *STAGES, "status", "CPU s"]
    cells = [_cells(row, state, is_running=is_running) for row in rows]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in (heading, *cells)
    ]
    tasks = {task.id: task for row in rows for task in row.tasks}
    failed = [(task, state.of(task.id)) for task in tasks.values() if state.of(task.id).state == "failed"]
    lines += [""] * bool(failed)
    lines += [
        f"{task.title} ({status_word(record)}): {in_one_line(record.line) or 'it said nothing'}" for task, record in failed
    ]
    lines += [f"what failed stages said is in {state.folder / 'logs'}"] * bool(failed)
    return "\n".join(lines)


def summary(tasks: Sequence[Task], state: State, *, is_running: bool = True) -> str:
    """How tasks stand in a word: done, or the status of what failed, or that they wait. is_running: a run is at work."""
    records = [state.of(task.id) for task in tasks]
    if failed := [record for record in records if record.state in ("failed", "cancelled")]:
        return status_word(failed[0])
    if all(record.state == "done" for record in records):
        return "done"
    if any(record.state == "running" for record in records):
        return "running" if is_running else "stopped"
    return "waiting"


def status_word(record: Record) -> str:
    """The exit status, or the signal, or that it was cancelled."""
    if record.state == "cancelled":
        return "cancelled"
    return str(record.status) if record.status is None or record.status >= 0 else f"signal {-record.status}"


def _cells(row: Row, state: State, *, is_running: bool) -> list[str]:
    stages = (row.of(stage) for stage in STAGES)
    words = [summary(tasks, state, is_running=is_running) if tasks else "-" for tasks in (*stages, row.tasks)]
    seconds = sum(state.of(task.id).cpu_seconds or 0.0 for task in row.tasks)
    return [in_one_line(row.clip), in_one_line(row.edit), *words, f"{seconds:.1f}"]
