"""Plans on a Ray cluster of two nodes of one core, on this machine: what is placed where, what dies, and what is left of it."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.fitting.stage import fit
from atlas.options.fit import FitOptions
from atlas.storage.stamps import digest
from atlas.system.interrupt import SAID
from scripts.batches.batch import BatchOptions, batch
from scripts.plans.engines.protocol import LOST, Outputs
from scripts.plans.engines.ray.cluster import connected
from scripts.plans.engines.ray.engine import RayEngine
from scripts.plans.plan import Resources, Task
from scripts.plans.state import State
from tests.scripts.plans.engines.machines import Machines, two_nodes
from tests.scripts.plans.engines.programs import kills_its_runner_once, ran, task
from tests.scripts.plans.engines.watched import gone, in_a_fit, is_at_work, is_interrupted, ray_of, soon

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have"),
]
SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "batch.py"
DEFAULTS = "defaults: {preset: preview, weights: none, device: cpu}\n"


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with two_nodes() as both:
        yield both


@pytest.fixture(scope="module")
def calm(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, fitted here and undisturbed."""
    folder = tmp_path_factory.mktemp("calm") / "clip"
    shutil.copytree(sample_clip.folder, folder)
    fit(FitOptions(clip=folder, preset="preview", device="cpu", quiet=True))
    return folder


def run_on(machines: Machines, folder: Path, *tasks: Task) -> State:
    with connected(machines.address) as ray:
        return ran(RayEngine(ray, folder=folder), folder, *tasks)


NODE = "import os; print(os.environ['RAY_RAYLET_PID'])\n"
"""Prints what tells a node."""


def test_statuses_results_and_logs_come_back(machines: Machines, tmp_path: Path) -> None:
    good = task(
        "import os, sys; print('{}'); print(os.environ['OMP_NUM_THREADS'], os.getcwd(), file=sys.stderr)", "a", prints=True
    )
    bad = task("import sys; print('{'); sys.exit(2)", "b", prints=True)
    long = task("import sys; print('x' * 300_000 + 'end'); sys.exit(2)", "c")
    worker_dies = task(kills_its_runner_once(tmp_path / "mark"), "d")
    state = run_on(machines, tmp_path, good, bad, long, worker_dies)
    assert state.result_path(good).read_text() == "{}\n" and state.of(good.id).state == "done"
    assert Outputs.of(tmp_path, good, None).log.read_text() == f"1 {SCRIPT.parents[1]}\n"
    assert (state.of(good.id).cpu_seconds or 0) > 0 and (state.of(good.id).peak_mb or 0) > 1
    assert (state.of(bad.id).status, state.of(bad.id).tries) == (2, 1) and not state.result_path(bad).exists()
    assert Outputs.of(tmp_path, long, None).log.read_text() == "x" * 300_000 + "end\n"
    assert (state.of(worker_dies.id).state, state.of(worker_dies.id).tries) == ("done", 2)
    ends = [json.loads(line) for line in (tmp_path / "state.jsonl").read_text().splitlines()]
    assert [end["status"] for end in ends if end["task"] == worker_dies.id and "status" in end] == [LOST, 0]
    assert "its worker ended" in Outputs.of(tmp_path, worker_dies, None).log.read_text()


def meet(folder: Path, count: int) -> str:
    """Code that goes on once so many tasks have come to it: they run at the same time."""
    folder.mkdir()
    return textwrap.dedent(f"""
        import pathlib, sys, time
        pathlib.Path({str(folder)!r}, sys.argv[1]).touch()
        until = time.monotonic() + 200
        while len(list(pathlib.Path({str(folder)!r}).iterdir())) < {count}:
            assert time.monotonic() < until
            time.sleep(0.05)
    """)


def test_tasks_are_placed_by_what_they_take_and_where_their_clip_was(machines: Machines, tmp_path: Path) -> None:
    code = NODE + "print(os.environ.get('CUDA_VISIBLE_DEVICES'))" + meet(tmp_path / "halves", 4)
    halves = Resources(cores=0, gpus=0.5, memory_mb=1)  # no core: all four at once
    on_gpus = [task(code, f"gpu {number}", prints=True, resources=halves) for number in range(4)]
    both = NODE + meet(tmp_path / "both", 2)
    first = [task(both, clip, prints=True) for clip in ("one", "two")]
    then = [task(NODE + "# again", before.clip, prints=True, needs=tuple(first)) for before in reversed(first)]
    state = run_on(machines, tmp_path, *on_gpus, *first, *then)
    printed = {one.id: state.result_path(one).read_text().split() for one in (*on_gpus, *first, *then)}
    nodes, gpus = zip(*(printed[one.id] for one in on_gpus), strict=True)
    assert len(set(nodes)) == 1 and sorted(gpus) == ["0", "0", "1", "1"]
    where = {one.clip: printed[one.id] for one in first}
    assert where["one"] != where["two"]  # one core each
    assert all(printed[one.id] == where[one.clip] for one in then)


def test_interrupted_and_with_a_node_that_dies_it_ends_with_the_same_bytes(
    machines: Machines, calm: Path, fresh_clip: Clip, tmp_path: Path
) -> None:
    command = batch_command(machines, fresh_clip, tmp_path)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    inside = in_a_fit(process, fresh_clip)
    guard = inside.parent()
    inside.suspend()  # it is not to end before it is told to
    process.send_signal(signal.SIGINT)
    soon(lambda: is_interrupted(inside), process)
    inside.resume()
    assert process.communicate(timeout=120)[1].strip().splitlines()[-1] == SAID and process.returncode == 130
    assert gone(inside) and guard is not None and gone(guard)
    assert not any(is_at_work(one, fresh_clip) for one in psutil.process_iter())

    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    inside = in_a_fit(process, fresh_clip)
    worker, raylet = ray_of(inside)
    raylet.kill()
    worker.kill()
    assert gone(inside)
    told = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and "done" in told
    assert f'"status": {LOST}' in (tmp_path / "jobs" / "state.jsonl").read_text()
    machines.add_other()
    assert_same_fit(calm, fresh_clip.folder)


def test_a_retry_waits_for_a_fit_that_outlived_its_node(
    machines: Machines, calm: Path, fresh_clip: Clip, tmp_path: Path
) -> None:
    """A node is dead, as its raylet is; the fit there is still at work, and holds its lease."""
    process = subprocess.Popen(batch_command(machines, fresh_clip, tmp_path), stdout=subprocess.PIPE, text=True)
    inside = in_a_fit(process, fresh_clip)
    worker, raylet = ray_of(inside)
    state = tmp_path / "jobs" / "state.jsonl"
    try:
        inside.suspend()  # it is to be there still when the retry comes
        raylet.kill()
        soon(lambda: '"status": 3' in state.read_text(), process)  # the retry found it at work
        assert inside.is_running() and f'"status": {LOST}' in state.read_text()
        inside.resume()
        told = process.communicate(timeout=600)[0]
        assert process.returncode == 0 and "done" in told and gone(inside)
    finally:
        process.kill()
    machines.add_other()  # takes the old one away, which its worker waits for
    assert gone(worker)
    assert_same_fit(calm, fresh_clip.folder)


def test_a_task_is_tried_again_whose_node_hangs(machines: Machines, tmp_path: Path) -> None:
    """Nothing of the node has ended, so nobody is told of an end."""
    hangs = task(
        f"""
        import os, pathlib, psutil, time
        mark = pathlib.Path({str(tmp_path / "mark")!r})
        if not mark.exists():
            worker = psutil.Process(os.getppid()).parent()
            mark.write_text(str(worker.pid))
            worker.parent().suspend()
            worker.suspend()
            time.sleep(600)
        """,
        "a",
    )
    state = run_on(machines, tmp_path, hangs)
    assert (state.of(hangs.id).state, state.of(hangs.id).tries) == ("done", 2)
    assert "does not answer" in Outputs.of(tmp_path, hangs, None).log.read_text()
    worker = int((tmp_path / "mark").read_text())
    machines.add_other()
    assert not psutil.pid_exists(worker) or gone(psutil.Process(worker))


def test_what_is_wrong_with_a_cluster_is_said_in_a_line(
    machines: Machines, fresh_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job_file(fresh_clip, tmp_path)

    def refused(address: str | None) -> str:
        with pytest.raises(UserError) as problem:
            batch(BatchOptions(jobs=path, engine="ray", address=address, reach=(fresh_clip.folder,), quiet=True))
        assert "\n" not in str(problem.value) and not (tmp_path / "jobs").exists()
        return str(problem.value)

    assert "does not answer" in refused("127.0.0.1:1")
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.handle_request, daemon=True).start()
        assert "is no Ray cluster" in refused(f"127.0.0.1:{other.server_port}")
    assert "give HOST:PORT" in refused("ray://127.0.0.1:10001")
    monkeypatch.setattr("ray.__version__", "0.1")
    assert "another than the cluster's" in refused(machines.address) and "0.1" in refused(machines.address)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(machines.address) == "--engine ray needs Ray: pip install -e .[cluster]"


def job_file(clip: Clip, folder: Path) -> Path:
    path = folder / "jobs.yaml"
    path.write_text(f"{DEFAULTS}clips: [{{clip: {json.dumps(str(clip.folder))}, name: walk}}]\nedits: []\n")
    return path


def batch_command(machines: Machines, clip: Clip, folder: Path) -> list[str]:
    path = job_file(clip, folder)
    return [
        *(sys.executable, str(SCRIPT), str(path), "--engine", "ray", "--address", machines.address, "--quiet"),
        *("--reach", str(clip.folder)),
    ]


def assert_same_fit(calm: Path, other: Path) -> None:
    for part in ("layers", "maps", "checkpoint.safetensors", "preview.mp4"):
        assert digest(calm / "fits" / "default" / part) == digest(other / "fits" / "default" / part), part
