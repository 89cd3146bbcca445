"""Plans by submitit, with its own executor for one machine: there is no Slurm here."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from atlas.errors import UserError
from scripts.batches.batch import BatchOptions, batch
from scripts.plans.engines.protocol import LOST, Outputs
from scripts.plans.engines.slurm import SlurmEngine
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State
from tests.scripts.plans.engines.programs import kills_its_runner_once, ran, task

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed"),
    pytest.mark.skipif(os.name == "nt", reason="Slurm is not for Windows"),
]
ROOT = Path(__file__).resolve().parents[4]


def run_here(folder: Path, *tasks: Task) -> State:
    return ran(SlurmEngine(folder, cluster="local"), folder, *tasks)


def test_statuses_results_and_logs(tmp_path: Path) -> None:
    says = "print(os.environ['OMP_NUM_THREADS'], os.getcwd(), file=sys.stderr)"
    good = task(f"import os, sys; print('{{}}'); {says}", "a", prints=True, resources=Resources(cores=2, memory_mb=1))
    bad = task("import sys; print('{'); sys.exit(2)", "b", prints=True)
    job_dies = task(kills_its_runner_once(tmp_path / "mark"), "c")
    state = run_here(tmp_path, good, bad, job_dies)
    assert state.result_path(good).read_text() == "{}\n" and state.of(good.id).state == "done"
    assert Outputs.of(tmp_path, good, None).log.read_text() == f"2 {ROOT}\n"
    assert (state.of(good.id).cpu_seconds or 0) > 0
    assert (state.of(bad.id).status, state.of(bad.id).tries) == (2, 1) and not state.result_path(bad).exists()
    assert (state.of(job_dies.id).state, state.of(job_dies.id).tries) == ("done", 2)
    ends = [json.loads(line) for line in state.path.read_text().splitlines()]
    assert [end["status"] for end in ends if end["task"] == job_dies.id and "status" in end] == [LOST, 0]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    engine = SlurmEngine(tmp_path, cluster="local")
    code = f"""
        import os, pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(600)
    """
    one = task(code, "a")
    engine.start(one, Outputs.of(tmp_path, one, None))
    until = time.monotonic() + 120
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < until and not engine.wait(0.1)
    engine.stop()
    assert engine.has_room(one)
    until = time.monotonic() + 20
    while any(map(is_alive, map(int, (tmp_path / "pids").read_text().split()))):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def put_in_place(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str) -> None:
    """Scripts as Slurm's commands."""
    programs = folder / "bin"
    programs.mkdir()
    for name, code in {"sbatch": sbatch, "srun": "", "sacct": ""}.items():
        (programs / name).write_text(f"#!/bin/sh\n{code}\n")
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_what_is_ready_together_becomes_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Slurm would be told: its commands are scripts here that keep what they are given."""
    put_in_place(tmp_path, monkeypatch, sbatch=f'cp "$1" {tmp_path}/$$.sh; echo "Submitted batch job $$"')
    engine = SlurmEngine(tmp_path)
    on_gpu = Resources(cores=4, gpus=0.5, memory_mb=3000)
    tasks = [task("pass", str(number)) for number in range(3)] + [task("pass", "gpu", resources=on_gpu)]
    for one in tasks:
        engine.start(one, Outputs.of(tmp_path, one, None))
    assert engine.wait(0) == []
    array, single = sorted((path.read_text() for path in tmp_path.glob("*.sh")), key=lambda text: "--array" not in text)
    assert "#SBATCH --array=0-2%3\n" in array and "#SBATCH --cpus-per-task=1\n" in array and "--gpus" not in array
    assert "--array" not in single and "#SBATCH --gpus-per-node=1\n" in single
    assert "#SBATCH --cpus-per-task=4\n" in single and "#SBATCH --mem=3000MB\n" in single


def test_what_sbatch_refuses_is_tried_again_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(tmp_path, monkeypatch, sbatch="echo 'sbatch: error: invalid partition specified: cpu' >&2; exit 1")
    monkeypatch.setattr("scripts.plans.run._PAUSE_RETRY", 0.0)
    one, two = task("pass", "a"), task("pass", "b")
    plan, state = Plan({one.id: one, two.id: two}), State(tmp_path)
    run_plan(plan, state, SlurmEngine(tmp_path))
    for record in map(state.of, (one.id, two.id)):
        assert (record.state, record.status, record.tries) == ("failed", LOST, 4)
        assert "Slurm took no job" in record.line and "invalid partition" in record.line


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.yaml"
    (tmp_path / "a.mp4").touch()
    path.write_text("clips: [{source: a.mp4}]\nedits: []\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("sbatch") is None
    with pytest.raises(UserError, match="--engine slurm needs sbatch, which is not here"):
        batch(BatchOptions(jobs=path, engine="slurm", quiet=True))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"--engine slurm needs submitit: pip install -e \.\[cluster\]"):
        batch(BatchOptions(jobs=path, engine="slurm", quiet=True))
    assert not (tmp_path / "jobs").exists()
