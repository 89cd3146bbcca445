"""Turns: of a clip one stage runs at a time, the others wait without keeping other clips from running."""

from __future__ import annotations

from pathlib import Path
from random import Random

from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.engines.simulated import SimulatedEngine
from scripts.plans.engines.turns import Turns
from scripts.plans.plan import Plan, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State


class Watched(SimulatedEngine):
    """Knows which clips are at work."""

    def __init__(self, workers: int, random: Random) -> None:
        super().__init__(workers, lambda task, tries: (random.uniform(1, 9), -9 if random.random() < 0.1 else 0))
        self.clips: dict[str, str] = {}
        self.most = 0

    def start(self, task: Task, outputs: Outputs) -> None:
        assert task.clip not in self.clips.values()
        self.clips[task.id] = task.clip
        self.most = max(self.most, len(self.clips))
        super().start(task, outputs)

    def wait(self, seconds: float) -> list[Ended]:
        ended = super().wait(seconds)
        for one in ended:
            del self.clips[one.task]
        return ended


def test_of_each_clip_one_at_a_time(tmp_path: Path) -> None:
    plan, engine = Plan(), Watched(4, Random(0))
    for number in range(120):  # one clip has most of the tasks
        clip = tmp_path / str(number % 6 if number > 60 else 0)
        plan.add(Task.of("edit", [str(number)], clip, "edit"))
    state = State(tmp_path)
    run_plan(plan, state, Turns(engine))
    assert {record.state for record in state.records.values()} == {"done"} and len(state.records) == 120
    assert engine.most == 4 and not engine.clips


def test_what_waits_for_its_turn_is_not_begun_any_more(tmp_path: Path) -> None:
    inner = SimulatedEngine(4, lambda task, tries: (1.0, 0))
    turns, tasks = Turns(inner), [Task.of("edit", [str(number)], tmp_path, "edit") for number in range(3)]
    for task in tasks:
        turns.start(task, Outputs.of(tmp_path, task, None))
    turns.stop()
    assert turns.wait(5.0) == [] and inner.order == [tasks[0].id]
