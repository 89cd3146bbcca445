"""Tasks as processes: what they say, what they cost, how they die, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from scripts.plans.engines.local import LocalEngine, shares
from scripts.plans.engines.protocol import Outputs
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have")


def task(code: str, folder: Path, *, prints: bool = False, needs: tuple[Task, ...] = ()) -> Task:
    return Task.of(
        "fit", ["-c", textwrap.dedent(code)], folder, "fit", prints=prints, needs=needs, resources=Resources(memory_mb=1)
    )


def plan_of(*tasks: Task) -> Plan:
    plan = Plan()
    for one in tasks:
        plan.add(one)
    return plan


def test_a_result_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    good = task(
        "import os; print('{}'); import sys; print(os.environ['OMP_NUM_THREADS'], file=sys.stderr)", tmp_path, prints=True
    )
    bad = task("print('{'); import sys; sys.exit('error: why')", tmp_path, prints=True)
    state = State(tmp_path)
    run_plan(plan_of(good), state, LocalEngine(2))
    assert state.result_path(good).read_text() == "{}\n" and state.of(good.id).state == "done"
    assert Outputs.of(tmp_path, good, None).log.read_text() == "1\n"  # its share of the cores
    assert (state.of(good.id).peak_mb or 0) > 1 and (state.of(good.id).cpu_seconds or 0) > 0
    run_plan(plan_of(bad), state, LocalEngine(2))
    assert (state.of(bad.id).tries, state.of(bad.id).status, state.of(bad.id).line) == (4, 1, "why")
    assert [path.name for path in (tmp_path / "results").iterdir()] == [f"{good.id}.json"]


@pytest.mark.parametrize("command", [["-c", "print('{}')"], ["scripts/evaluate.py", "--help"]])
def test_a_result_that_cannot_be_written_ends_the_task(command: list[str], tmp_path: Path) -> None:
    """As a process of its own, and in one that stays: the thread that sees its end must not die of it."""
    one = Task.of("evaluate", command, tmp_path, "evaluate", prints=True)
    result = tmp_path / "results" / "a folder"
    result.mkdir(parents=True)
    engine, until = LocalEngine(1), time.monotonic() + 120
    engine.start(one, Outputs.of(tmp_path, one, result))
    while not (ended := engine.wait(1)):
        assert time.monotonic() < until
    engine.stop()
    assert ended[0].status == 1 and f"error: {result} cannot be written" in Outputs.of(tmp_path, one, None).log.read_text()


def test_what_is_killed_is_tried_again(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, signal
        mark = pathlib.Path({str(tmp_path / "mark")!r})
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = task(code, tmp_path)
    state = State(tmp_path)
    run_plan(plan_of(killed), state, LocalEngine(1))
    assert (state.of(killed.id).state, state.of(killed.id).tries) == ("done", 2)
    assert "killed by SIGKILL" in (tmp_path / "state.jsonl").read_text()


def test_what_a_dead_task_had_started_dies_with_it(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, signal, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
        sys.exit(2)
    """
    run_plan(plan_of(task(code, tmp_path)), State(tmp_path), LocalEngine(1))
    assert _is_gone(int((tmp_path / "child").read_text()))


def test_the_machine_is_shared(tmp_path: Path) -> None:
    assert shares(1)[0] == 1 and shares(64) == (64, 1)
    engine = LocalEngine(2)
    large = Task.of("fit", ["-c", "import time; time.sleep(600)"], tmp_path, "fit", resources=Resources(memory_mb=10**9))
    small = task("pass", tmp_path)
    assert engine.has_room(large)  # alone, whatever it needs
    engine.start(large, Outputs.of(tmp_path, large, None))
    assert not engine.has_room(small)
    engine.stop()
    assert engine.has_room(small)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    """A plan whose task ignores interrupts and has started another process, run by a process that is told to end."""
    stubborn = f"""
        import os, pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGINT, lambda *_: None)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
        while True:
            time.sleep(0.1)
    """
    code = f"""
        import signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from scripts.plans.engines import local
        from scripts.plans.plan import Plan, Task
        from scripts.plans.run import run_plan
        from scripts.plans.state import State
        signal.signal(signal.SIGINT, signal.default_int_handler)
        local._PATIENCE = 0.5
        folder, plan = Path({str(tmp_path)!r}), Plan()
        plan.add(Task.of("fit", ["-c", {textwrap.dedent(stubborn)!r}], folder, "fit"))
        run_plan(plan, State(folder), local.LocalEngine(1))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert all(_is_gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    records = State(tmp_path).records.values()
    assert [(record.state, record.status) for record in records] == [("cancelled", 130)]


def _is_gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False
