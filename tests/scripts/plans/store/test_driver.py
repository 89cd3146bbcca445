"""Plans whose clips are in a store: tasks stay what they are, machines come and go, and what cannot be is told before."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.batches.batch import run_in
from scripts.plans.engines.local import LocalEngine
from scripts.plans.engines.opened import Wanted, opened
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.engines.turns import Turns
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State
from scripts.plans.store.driver import Stored
from scripts.plans.store.engine import StoredEngine

SMALL = Resources(memory_mb=1)
STAGE = """
import pathlib, sys
clip, source, make = map(pathlib.Path, sys.argv[1:4])
made = clip / make
made.parent.mkdir(parents=True, exist_ok=True)
made.write_text(source.read_text() + "".join((clip / name).read_text() for name in sys.argv[4:]) + str(make))
print("said", file=sys.stderr)
print('{"made": "%s"}' % make)
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "walk.mp4").write_text("film ")
    return tmp_path / "films" / "walk.mp4"


def chain(folder: Path, source: Path, code: str = STAGE) -> Plan:
    """A source, a fit of it, and two renderings of that."""
    plan, clip = Plan(), folder / "clips" / "walk"

    def add(stage: str, make: str, needs: list[Task], *, prints: bool = False) -> Task:
        reads = [Path(task.makes[0]).relative_to(clip).as_posix() for task in needs]
        words = ["-c", code, str(clip), str(source), make, *reads]
        task = Task.of(stage, words, clip, f"{stage} {make}", needs=needs, makes=[clip / make], prints=prints, resources=SMALL)
        return plan.add(task)

    fit = add("fit", "fits/fit", [add("prepare", "frames", [])])
    for name in ("a", "b"):
        add("render", f"edits/{name}/video.mp4", [fit], prints=name == "b")
    return plan


class Elsewhere:
    """An engine whose machine shares no disk with this one: what lay there is put in place only while a task runs."""

    def __init__(self, inner: LocalEngine, disk: Path, paths: list[Path]) -> None:
        self._inner, self._disk, self._paths = inner, disk, paths
        self._outputs: dict[str, Outputs] = {}

    def now(self) -> float:
        return self._inner.now()

    def has_room(self, task: Task) -> bool:
        return not self._outputs

    def _swap(self, source: Path, target: Path) -> None:
        for number, path in enumerate(self._paths):
            if path.exists():
                path.rename(source / str(number))
            if (target / str(number)).exists():
                (target / str(number)).rename(path)

    def start(self, task: Task, outputs: Outputs) -> None:
        (self._disk / "here").mkdir(parents=True, exist_ok=True)
        (self._disk / "there").mkdir(exist_ok=True)
        self._swap(self._disk / "here", self._disk / "there")
        away = self._disk / "said"
        self._outputs[task.id] = outputs
        self._inner.start(task, Outputs(away / "log", away / "progress", away / "result" if outputs.result else None))

    def wait(self, seconds: float) -> list[Ended]:
        ended = self._inner.wait(seconds)
        for one in ended:
            del self._outputs[one.task]
            self._swap(self._disk / "there", self._disk / "here")
        return ended

    def stop(self) -> None:
        self._inner.stop()


def test_machines_without_a_shared_disk(source: Path, tmp_path: Path) -> None:
    """The films, what was printed and what was said come to the machine that runs the plan, and a source to the others."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    plan, url = chain(folder, source), f"file://{tmp_path / 'store'}"
    clip = folder / "clips" / "walk"
    stored = Stored(url, plan)
    state = stored.begin(folder)
    machines = [tmp_path / "m1", tmp_path / "m2"]
    for machine in machines:  # the second finds all done
        engine = Elsewhere(LocalEngine(1), machine, [clip.parent, source.parent])
        run_plan(plan, state, Turns(StoredEngine(engine, stored)))
    assert not machines[1].exists()
    assert {record.state for record in state.records.values()} == {"done"}
    films = {path.relative_to(clip).as_posix(): path.read_text() for path in clip.rglob("*") if path.is_file()}
    assert films.keys() == {"edits/a/video.mp4", "edits/b/video.mp4"}  # and not what they were made from
    assert films["edits/a/video.mp4"] == "film film film framesfits/fitedits/a/video.mp4"
    printing = next(task for task in plan if task.prints)
    assert state.result_path(printing).read_text() == '{"made": "edits/b/video.mp4"}\n'
    for task in plan:
        assert Outputs.of(folder, task, None).log.read_text() == "said\n"
    assert (machines[0] / "there" / "1" / "walk.mp4").read_text() == "film "

    # Anew, as another day: nothing is missing; a film that was deleted is made again, on another machine.
    again = Stored(url, plan)
    assert again.begin(folder).missing(plan) == []
    (clip / "edits/a/video.mp4").unlink()
    again = Stored(url, plan)
    state = again.begin(folder)
    assert [task.title for task in state.missing(plan)] == ["render edits/a/video.mp4"]
    engine = Elsewhere(LocalEngine(1), machines[1], [clip.parent, source.parent])
    run_plan(plan, state, Turns(StoredEngine(engine, again)))
    assert (clip / "edits/a/video.mp4").read_text() == films["edits/a/video.mp4"]
    assert (machines[1] / "there" / "0" / "walk" / "fits" / "fit").is_file()

    # What a person painted here is taken along, and what was made of it before is done again.
    fit = next(task for task in plan if task.stage == "fit")
    (clip / "fits").mkdir()
    (clip / "fits" / "fit").write_text("painted")
    again = Stored(url, plan)
    assert len(again.begin(folder).missing(plan)) == 3
    assert again.made(fit, state) != state.of(fit.id).made


def test_a_batch_with_a_store_is_the_same_plan(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    plan, url = chain(folder, source), f"file://{tmp_path / 'store'}"
    about = {"title": "t", "rows": []}
    state = run_in(folder, plan, about, LocalEngine(2), quiet=True, store=url)
    assert len(state.records) == 4 and {record.state for record in state.records.values()} == {"done"}
    assert url not in (folder / "plan.json").read_text() and "scripts.plans.store" not in (folder / "plan.json").read_text()
    before = Counter(record.tries for record in state.records.values())
    state = run_in(folder, plan, about, LocalEngine(2), quiet=True, store=url)
    assert Counter(record.tries for record in state.records.values()) == before == {1: 4}
    # Without the store the same plan looks at the files of this machine, as ever.
    assert len(State(folder).missing(plan)) == 4


def test_of_a_clip_one_stage_runs_at_a_time(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys, time
clip = pathlib.Path(sys.argv[1])
clip.mkdir(exist_ok=True)
mark = clip / "mark"
mark.touch(exist_ok=False)
time.sleep(0.1)
mark.unlink()
(clip / sys.argv[2]).touch()
"""
    plan = Plan()
    for clip in ("one", "two"):
        for number in range(3):
            words = ["-c", code, str(tmp_path / clip), str(number)]
            plan.add(Task.of("edit", words, tmp_path / clip, "edit", makes=[tmp_path / clip / str(number)], resources=SMALL))
    stored = Stored(f"file://{tmp_path / 'store'}", plan)
    (tmp_path / "jobs").mkdir()
    state = stored.begin(tmp_path / "jobs")
    run_plan(plan, state, Turns(StoredEngine(LocalEngine(4), stored)))
    assert [(record.state, record.tries) for record in state.records.values()] == [("done", 1)] * 6


def test_what_a_store_cannot_hold_is_told_before_anything_runs(source: Path, tmp_path: Path) -> None:
    url, folder = f"file://{tmp_path / 'store'}", tmp_path / "jobs"
    folder.mkdir()
    outside = Plan()
    outside.add(Task.of("fit", ["-c", ""], folder / "clip", "fit walk", makes=[tmp_path / "elsewhere"]))
    with pytest.raises(UserError, match="fit walk makes files outside"):
        Stored(url, outside)
    whole = Plan()
    whole.add(Task.of("prepare", ["scripts/prepare.py", str(tmp_path), str(folder / "clip")], folder / "clip", "prepare walk"))
    with pytest.raises(UserError, match="holds the clip's own folder"):
        Stored(url, whole)
    linked = Plan()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "unet").symlink_to(tmp_path / "films")
    linked.add(Task.of("edit", ["-c", "", f"--model={tmp_path / 'model'}"], folder / "clip", "edit walk"))
    with pytest.raises(UserError, match="is a link to a folder"):
        Stored(url, linked).begin(folder)
    (folder / "clip").mkdir()
    (folder / "clip" / "frames").symlink_to(tmp_path / "films")
    plain = Plan()
    plain.add(Task.of("fit", ["-c", ""], folder / "clip", "fit walk"))
    with pytest.raises(UserError, match="is a link, a pipe or a device"):
        Stored(url, plain).begin(folder)
    with pytest.raises(UserError, match="leave --store out"), opened(Wanted("slurm", shares_disk=False), folder):
        pass
    with pytest.raises(UserError, match="password"):
        run_in(tmp_path / "new", plain, {"title": "t", "rows": []}, LocalEngine(1), quiet=True, store="sftp://me:secret@host/x")
    assert not (tmp_path / "new").exists()


def test_sources_are_the_paths_that_commands_name(source: Path, tmp_path: Path) -> None:
    lora, folder = tmp_path / "red.safetensors", tmp_path / "jobs"
    lora.write_text("lora")
    clip = folder / "clips" / "walk"
    clip.mkdir(parents=True)
    words = ["scripts/edit.py", str(clip), "--name", "a", f"--lora={lora}:0.5", f"--model={source.parent}", "--prompt=/nowhere"]
    words += [str(clip / "notes"), "--steps=3", "--negative=/tmp"]
    plan = Plan()
    task = plan.add(Task.of("edit", words, clip, "edit"))
    stored = Stored(f"file://{tmp_path / 'store'}", plan)
    wrapped = stored.wrapped(task, "report").command
    assert wrapped[: wrapped.index("--")].count("--file") == 1 == wrapped.count("--folder")
    assert str(lora) in wrapped and str(source.parent) in wrapped
    assert wrapped[wrapped.index("--") + 1 :] == task.command and stored.wrapped(task, "report").id == task.id
    stored.give()
    sent = stored.remote.traffic.bytes_up
    stored.give()  # unchanged: nothing is sent again
    assert stored.remote.traffic.bytes_up == sent
    # Another machine where the path is another file: it is not overwritten.
    (shared,) = [one for one in stored._sources[task.id] if one.is_file]
    lora.unlink()
    shared.bring(stored.remote)
    assert lora.read_text() == "lora"
    lora.write_text("mine")
    with pytest.raises(UserError, match="is not what"):
        shared.bring(stored.remote)
    assert lora.read_text() == "mine"
    shutil.rmtree(tmp_path / "store")
