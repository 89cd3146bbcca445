"""Plans and their state: ids tell what a task is made from, and the state survives whatever ends a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.plans.plan import Plan, Task
from scripts.plans.state import STATE, State


def chain(folder: Path, word: str = "a") -> Plan:
    """Three tasks, one after the other; the first reads a file and makes one."""
    plan = Plan()
    source, made = folder / "source", folder / "made"
    first = plan.add(Task.of("prepare", ["x.py", word], folder, "prepare", reads=[source], makes=[made]))
    second = plan.add(Task.of("fit", ["y.py"], folder, "fit", needs=[first]))
    plan.add(Task.of("render", ["z.py"], folder, "render", needs=[second]))
    return plan


def test_an_id_tells_command_inputs_and_files(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("1")
    first, again, other = (list(chain(tmp_path, word).tasks) for word in ("a", "a", "b"))
    assert first == again and not set(first) & set(other)  # what needs another thing is another thing
    (tmp_path / "source").write_text("12")
    assert not set(first) & set(chain(tmp_path).tasks)


def test_a_task_that_is_added_again_is_the_same(tmp_path: Path) -> None:
    plan = chain(tmp_path)
    assert plan.add(Task.of("fit", ["y.py"], tmp_path, "another title", needs=[next(iter(plan))])).title == "fit"
    with pytest.raises(ValueError, match="not in the plan"):
        Plan().add(list(plan)[1])


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = chain(tmp_path)
    assert plan.write(tmp_path, {"title": "é"}) and not plan.write(tmp_path, {"title": "é"})
    read, about = Plan.read(tmp_path)
    assert read.tasks == plan.tasks and about == {"title": "é"}


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"version": 1, "tasks": [1], "about": {}}', '{"version": 1, "tasks": [{}]}', "{"]
)
def test_a_damaged_plan_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UserError, match=r"plan\.json"):
        Plan.read(tmp_path)
    with pytest.raises(UserError, match=r"holds no plan\.json"):
        Plan.read(tmp_path / "none")


def done(state: State, task: Task) -> None:
    state.started(task)
    state.ended(task, 0, seconds=1.0, cpu_seconds=2.0)


def test_what_is_missing(tmp_path: Path) -> None:
    plan = chain(tmp_path)
    first, second, third = plan
    state = State(tmp_path)
    assert state.missing(plan) == [first, second, third]
    (tmp_path / "made").write_text("1")
    done(state, first)
    done(state, second)
    assert State(tmp_path).missing(plan) == [third]
    done(state, third)
    assert State(tmp_path).missing(plan) == []
    (tmp_path / "made").write_text("repainted")  # somebody changed it: all that is made from it is looked at again
    assert State(tmp_path).missing(plan) == [first, second, third]
    os.unlink(tmp_path / "made")
    assert State(tmp_path).missing(plan) == [first, second, third]


def test_a_torn_line_counts_as_not_written(tmp_path: Path) -> None:
    plan = chain(tmp_path)
    (tmp_path / "made").write_text("1")
    first, second, _ = plan
    state = State(tmp_path)
    done(state, first)
    done(state, second)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[:-9])
    torn = State(tmp_path)
    assert torn.of(second.id).state == "running" and torn.of(first.id).state == "done"
    done(torn, second)  # the next line begins anew
    again = State(tmp_path)
    assert again.of(second.id).state == "done" and again.of(second.id).tries == 2


def test_lines_of_anyone_are_passed_over(tmp_path: Path) -> None:
    lines = [
        "",
        "[]",
        "1",
        '{"task": 3, "event": "ended"}',
        '{"task": "a", "event": "ended", "status": "0"}',
        '{"event": "ended"}',
        "[" * 100_000,
        '{"task": "a", "event": "ended", "status": NaN}',
    ]
    (tmp_path / STATE).write_bytes("\n".join(lines).encode() + b"\n\xff\x00\n")
    assert State(tmp_path).records == {}
