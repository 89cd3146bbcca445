"""Tasks that are a few lines of Python, and plans of them, for tests of engines."""

from __future__ import annotations

import textwrap
from pathlib import Path

from scripts.plans.engines.protocol import Engine
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State

SMALL = Resources(memory_mb=1)


def task(code: str, clip: str, *, prints: bool = False, resources: Resources = SMALL, needs: tuple[Task, ...] = ()) -> Task:
    command = ["-c", textwrap.dedent(code), clip]
    return Task.of("fit", command, Path(clip), f"fit {clip}", prints=prints, needs=needs, resources=resources)


def ran(engine: Engine, folder: Path, *tasks: Task) -> State:
    """Run a plan of tasks to its end; how it stands then."""
    plan, state = Plan(), State(folder)
    for one in tasks:
        plan.add(one)
    run_plan(plan, state, engine)
    return state


def kills_its_runner_once(mark: Path) -> str:
    """A program that kills what watches it, above its guard, the first time that it runs."""
    return f"""
        import os, pathlib, psutil, signal, time
        mark = pathlib.Path({str(mark)!r})
        if not mark.exists():
            mark.touch()
            os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
            time.sleep(600)
        """
