"""Running a plan by a clock of its own: exit statuses decide, order, and what the scheduler costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.engines.simulated import SimulatedEngine
from scripts.plans.options import option_of
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State
from scripts.plans.weights import _DECIDE, weights_of

Outcome = Callable[[Task, int], tuple[float, int]]


def plan_of(clips: int, edits: int) -> Plan:
    """Of each clip a preparation, a fit, and edits with three stages after them."""
    plan = Plan()
    for clip in map(str, range(clips)):
        before = plan.add(Task.of("prepare", [clip], Path(clip), f"prepare {clip}"))
        before = plan.add(Task.of("fit", [clip], Path(clip), f"fit {clip}", needs=[before]))
        for edit in map(str, range(edits)):
            last = before
            for stage in ("edit", "aggregate", "render", "evaluate"):
                last = plan.add(Task.of(stage, [clip, edit], Path(clip), f"{stage} {clip} {edit}", needs=[last]))
    return plan


def simulated(plan: Plan, folder: Path, workers: int, outcome: Outcome) -> tuple[SimulatedEngine, State]:
    engine, state = SimulatedEngine(workers, outcome), State(folder)
    run_plan(plan, state, engine)
    return engine, state


@pytest.mark.parametrize(
    ("statuses", "starts", "state", "status"),
    [
        ([0], 1, "done", 0),
        ([2], 1, "failed", 2),
        ([3, 3, 3, 3, 3, 3, 0], 7, "done", 0),  # somebody else is at work: for as long as that takes
        ([130], 1, "cancelled", 130),
        ([-2], 1, "cancelled", -2),
        ([1, -9, 0], 3, "done", 0),
        ([1, -9, -11, 137, 0], 4, "failed", 137),  # tried again three times
    ],
)
def test_exit_statuses_decide(statuses: list[int], starts: int, state: str, status: int, tmp_path: Path) -> None:
    plan = plan_of(2, 1)
    fit = next(task for task in plan if task.title == "fit 0")

    def outcome(task: Task, tries: int) -> tuple[float, int]:
        return 1.0, statuses[tries - 1] if task is fit else 0

    engine, kept = simulated(plan, tmp_path, 2, outcome)
    assert engine.order.count(fit.id) == starts == kept.of(fit.id).tries
    assert (kept.of(fit.id).state, kept.of(fit.id).status) == (state, status)
    of_other = [kept.of(task.id).state for task in plan if task.clip == "1"]
    assert of_other == ["done"] * 6  # the others go on
    after = {kept.of(task.id).state for task in plan if task.clip == "0" and task.stage not in ("prepare", "fit")}
    assert after == {"done" if state == "done" else "waiting"}
    again, _ = simulated(plan, tmp_path, 2, lambda task, tries: (1.0, 0))
    assert len(again.order) == (0 if state == "done" else 5)  # the same plan again does what is missing


def test_each_task_runs_after_what_it_needs_and_once(tmp_path: Path) -> None:
    plan = plan_of(3, 3)
    engine, _ = simulated(plan, tmp_path, 4, lambda task, tries: (1.0 + len(task.stage), 0))
    assert sorted(engine.order) == sorted(plan.tasks)
    places = {name: place for place, name in enumerate(engine.order)}
    assert all(places[need] < places[task.id] for task in plan for need in task.needs)


def test_two_workers_are_kept_busy(tmp_path: Path) -> None:
    """By the processor seconds of stages as a real batch of 3 clips and 3 edits took them."""
    seconds = {"prepare": 3.0, "fit": 5.2, "edit": 1.9, "aggregate": 3.3, "render": 3.1, "evaluate": 3.8}
    plan = plan_of(3, 3)
    engine, _ = simulated(plan, tmp_path, 2, lambda task, tries: (seconds[task.stage], 0))
    assert engine.now() <= 1.15 * sum(seconds[task.stage] for task in plan) / 2


def test_what_waits_for_a_gpu_does_not_keep_others_from_the_cores(tmp_path: Path) -> None:
    class OneGpu(SimulatedEngine):
        """Any number of cores, and one GPU."""

        used = 0.0

        def has_room(self, task: Task) -> bool:
            return self.used + task.resources.gpus <= 1

        def start(self, task: Task, outputs: Outputs) -> None:
            self.used += task.resources.gpus
            super().start(task, outputs)

        def wait(self, seconds: float) -> list[Ended]:
            ended = super().wait(seconds)
            self.used -= sum(plan.tasks[one.task].resources.gpus for one in ended)
            return ended

    plan, gpu = Plan(), Resources(gpus=1)
    fits = [plan.add(Task.of("fit", [clip], Path(clip), f"fit {clip}", resources=gpu)) for clip in "abc"]
    renders = [plan.add(Task.of("render", [clip], Path(clip), f"render {clip}")) for clip in "de"]
    engine = OneGpu(100, lambda task, tries: (1.0, 0))
    run_plan(plan, State(tmp_path), engine)
    assert engine.order == [one.id for one in (fits[0], *renders, *fits[1:])] and engine.now() == 3


def test_a_task_costs_little(tmp_path: Path) -> None:
    plan = plan_of(100, 10)
    began = time.process_time()
    simulated(plan, tmp_path, 50, lambda task, tries: (1.0, 0))
    assert (time.process_time() - began) / len(plan) < 0.05


class Remembering(SimulatedEngine):
    """An engine whose processes keep the weights of their last task."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(1, outcome)
        self.last = ""

    def start(self, task: Task, outputs: Outputs) -> None:
        self.last = weights_of(task)
        super().start(task, outputs)

    def loaded(self) -> Collection[str]:
        return {self.last} - {""}

    def close(self) -> None:
        self.last = "closed"


def test_tasks_that_want_the_same_weights_follow_each_other(tmp_path: Path) -> None:
    """Of those that are as urgent; what is more urgent waits for none of them."""
    plan = Plan()
    for number in range(6):
        model = "ab"[number % 2]
        words = ["scripts/edit.py", str(number), "--editor", "diffusion", f"--model={model}", f"--prompt={number}"]
        plan.add(Task.of("edit", words, Path("clip"), model))
    first = Plan()
    before = first.add(Task.of("fit", ["fit"], Path("clip"), "fit"))
    for task in plan:
        first.add(task)
    engine = Remembering(lambda task, tries: (1.0, 0))
    run_plan(first, State(tmp_path), engine)
    assert engine.order[0] == before.id and engine.last == "closed"
    assert "".join(plan.tasks[name].title for name in engine.order[1:]) in ("aaabbb", "bbbaaa")


def test_which_weights_a_task_wants() -> None:
    def wanted(*words: str, stage: str = "edit") -> str:
        return weights_of(Task.of(stage, ["scripts/edit.py", "clip", *words, "--quiet"], Path("clip"), "edit"))

    prompted = ("--editor", "diffusion", "--model=a", "--lora", "b:0.5", "c:1", "--prompt=--model=x")
    assert wanted(*prompted) == "--model=a --lora b:0.5 c:1" == wanted(*prompted, "--seed=3", "--strength=0.5")
    assert wanted("--editor", "diffusion") == "usual" != wanted(*prompted) != wanted(*prompted, "--dtype=float16")
    for flag in _DECIDE:
        assert option_of("edit", flag.removeprefix("--no-").removeprefix("--")), flag
    assert wanted("--editor", "filter", "--model=a") == "" == wanted(*prompted, stage="fit")
