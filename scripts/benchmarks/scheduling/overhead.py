"""Overhead of a plan: processor time and memory for each task, where the tasks themselves take none."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from atlas.errors import UserError
from atlas.system.command import CommonOptions
from atlas.system.cost import peak_ram_mb
from scripts.batches.table import rows_of, table
from scripts.plans.chain import Chains, ClipEntry, EditEntry, whole_chain
from scripts.plans.engines.simulated import SimulatedEngine
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State

_SECONDS = {"prepare": 20.0, "fit": 100.0, "edit": 30.0, "aggregate": 20.0, "render": 15.0, "evaluate": 20.0}


@dataclass(kw_only=True)
class BenchPlanOptions(CommonOptions):
    """Measure what running a plan costs by itself: its tasks take no time, but by a clock of their own."""

    tasks: int = 10_000
    """About so many tasks: clips of 10 edits each."""
    workers: int = 1000
    """Tasks that run at once."""
    lost: float = 0.02
    """Share of tries that end by a signal."""
    seed: int = 0
    """Of what is lost, and of how long tasks take."""


def bench_plan(options: BenchPlanOptions) -> dict[str, Any]:
    """Measure; returns seconds of the processor for a task in making, writing, running, reading again, and peak memory."""
    if options.tasks < 1 or options.workers < 1 or not 0 <= options.lost < 1:
        raise UserError("give 1 or more --tasks and --workers, and --lost from 0 to below 1")
    random, taken = Random(options.seed), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as name:
        folder, began = Path(name), time.process_time()
        plan, rows = _plan(folder, options.tasks)

        def lap(what: str) -> None:
            nonlocal began
            taken[what] = round(1000 * (time.process_time() - began) / len(plan), 3)
            began = time.process_time()

        lap("make")
        plan.write(folder, {"rows": rows})
        lap("write")

        def outcome(task: Task, tries: int) -> tuple[float, int]:
            return _SECONDS[task.stage] * random.uniform(0.5, 2.0), -9 if random.random() < options.lost else 0

        engine = SimulatedEngine(options.workers, outcome)
        run_plan(plan, State(folder), engine)
        lap("run")
        read, about = Plan.read(folder)
        state = State(folder)
        left = len(state.missing(read))
        lap("again")
        table(rows_of(read, about), state, is_running=False)
        lap("table")
    return {
        "tasks": len(plan),
        "left": left,
        "ms_per_task": taken | {"all": round(sum(taken.values()), 3)},
        "peak_ram_mb": peak_ram_mb(),
        "simulated_hours": round(engine.now() / 3600, 3),
        "busy": round(sum(_SECONDS[task.stage] * 1.25 for task in plan) / (engine.now() * options.workers), 3),
    }


def _plan(folder: Path, tasks: int) -> tuple[Plan, list[dict[str, Any]]]:
    """Clips of 10 edits each."""
    chains, rows = Chains(Plan()), []
    clip = 0
    while len(chains.plan) < tasks:
        clip += 1
        entry = ClipEntry(f"clip-{clip}", folder / "clips" / str(clip), folder / f"{clip}.mp4")
        for number in range(10):
            layer = {"layer": "foreground", "editor": "filter", "filter": "hue"}
            made = whole_chain(chains, entry, EditEntry(f"edit-{number}", (layer,)), {})
            rows.append({"clip": entry.name, "edit": str(number), "tasks": [made[-1].id]})
    return without_files(chains.plan), rows


def without_files(plan: Plan, resources: dict[str, Resources] | None = None) -> Plan:
    """A plan whose tasks leave no files: nothing is run that could make them. resources: that the tasks of a stage take."""
    asked = resources or {}
    return Plan(
        {task.id: replace(task, makes=(), prints=False, resources=asked.get(task.stage, task.resources)) for task in plan}
    )
