"""Plans on a Ray cluster of two nodes of one core, on this machine: what is placed where, what dies, and what is left of it."""

from __future__ import annotations

import contextlib
import http.server
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have"),
]
SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "batch.py"
DEFAULTS = "defaults: {preset: preview, weights: none, device: cpu}\n"
SMALL = Resources(memory_mb=1)
Found = TypeVar("Found")


@dataclass
class Machines:
    """A cluster: its head, where a plan is run, and a node that may die."""

    cluster: Any = None
    other: Any = None

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add_other(self) -> None:
        """Start the second node: of one core and two GPUs that there are not."""
        if self.other is not None:
            self.cluster.remove_node(self.other, allow_graceful=False)
        self.other = patiently(lambda: self.cluster.add_node(num_cpus=1, num_gpus=2, object_store_memory=80 * 2**20))


def patiently(start: Callable[[], Found]) -> Found:
    """Start something of Ray's, which gives up after 30 seconds, and takes longer on a busy machine: three times."""
    for _ in range(2):
        with contextlib.suppress(Exception):
            return start()
    return start()


SWEEP = """
import psutil, shutil, sys
sys.stdin.read()
for one in psutil.process_iter():
    try:
        if one.environ().get("RAY_TMPDIR") == sys.argv[1] and one.pid not in (psutil.Process().pid, int(sys.argv[2])):
            one.kill()
    except psutil.Error:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Kills what is left of a cluster, once the process of the tests has ended its input, or has died."""


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    from ray.cluster_utils import Cluster

    # Deep in a folder of pytest's the names of sockets would be too long.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    (folder / "ray").mkdir()
    quick = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 2000, "failure_threshold": 4}
    quick = {f"health_check_{name}": value for name, value in quick.items()}
    head = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "_system_config": quick}
    made, handler = Machines(), signal.getsignal(signal.SIGTERM)
    words = [sys.executable, "-c", SWEEP, str(folder), str(os.getpid())]
    sweep = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_process_group_cleanup_enabled", "1")
        try:
            made.cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=dict(head)))
            signal.signal(signal.SIGTERM, handler)  # Ray's own waits for half a minute
            made.add_other()
            yield made
        finally:
            if made.cluster is not None:
                made.cluster.shutdown()
            assert sweep.stdin is not None
            sweep.stdin.close()
            sweep.wait()
            signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def calm(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, fitted here and undisturbed."""
    folder = tmp_path_factory.mktemp("calm") / "clip"
    shutil.copytree(sample_clip.folder, folder)
    fit(FitOptions(clip=folder, preset="preview", device="cpu", quiet=True))
    return folder


def task(code: str, clip: str, *, prints: bool = False, resources: Resources = SMALL, needs: tuple[Task, ...] = ()) -> Task:
    command = ["-c", textwrap.dedent(code), clip]
    return Task.of("fit", command, Path(clip), f"fit {clip}", prints=prints, needs=needs, resources=resources)


def run_on(machines: Machines, folder: Path, *tasks: Task) -> State:
    plan, state = Plan(), State(folder)
    for one in tasks:
        plan.add(one)
    with connected(machines.address) as ray:
        run_plan(plan, state, RayEngine(ray, folder=folder))
    return state


NODE = "import os; print(os.environ['RAY_RAYLET_PID'])\n"
"""Prints what tells a node."""


def test_statuses_results_and_logs_come_back(machines: Machines, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    good = task(
        "import os, sys; print('{}'); print(os.environ['OMP_NUM_THREADS'], os.getcwd(), file=sys.stderr)", "a", prints=True
    )
    bad = task("import sys; print('{'); sys.exit(2)", "b", prints=True)
    long = task("import sys; print('x' * 300_000 + 'end'); sys.exit(2)", "c")
    worker_dies = task(
        f"""
        import os, pathlib, psutil, signal, time
        mark = pathlib.Path({str(mark)!r})
        if not mark.exists():
            mark.touch()
            os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
            time.sleep(600)
        """,
        "d",
    )
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


def in_a_fit(process: subprocess.Popen[str], clip: Clip) -> psutil.Process:
    """The process that fits a clip, once it is at work and a part is done."""

    def found() -> psutil.Process | None:
        if not list((clip.folder / "fits" / "default" / "resume").glob("*.safetensors")):
            return None
        return next((one for one in psutil.process_iter() if is_fit(one, clip)), None)

    return soon(found, process)


def is_fit(process: psutil.Process, clip: Clip) -> bool:
    """Whether a process fits a clip."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[1:2] == ["scripts/fit.py"] and is_at_work(process, clip)
    return False


def is_at_work(process: psutil.Process, clip: Clip) -> bool:
    """Whether a process is a stage's of a clip, or its guard."""
    with contextlib.suppress(psutil.Error):
        return str(clip.folder) in process.cmdline()
    return False


def is_interrupted(process: psutil.Process) -> bool:
    """Whether an interrupt waits for a process that is stopped."""
    about = Path(f"/proc/{process.pid}/status")
    if not about.exists():  # another system, which does not tell
        time.sleep(5)
        return True
    pending = [line.split()[1] for line in about.read_text().splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (signal.SIGINT - 1) & 1 for mask in pending)


def ray_of(inside: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    """The worker that watches a stage, and the raylet of its node."""
    guard = inside.parent()
    assert guard is not None and any(word.endswith("guard.py") for word in guard.cmdline())
    worker = guard.parent()
    assert worker is not None
    raylet = worker.parent()
    assert raylet is not None and "raylet" in raylet.name()
    return worker, raylet


def assert_same_fit(calm: Path, other: Path) -> None:
    for part in ("layers", "maps", "checkpoint.safetensors", "preview.mp4"):
        assert digest(calm / "fits" / "default" / part) == digest(other / "fits" / "default" / part), part


def soon(found: Callable[[], Found | None], process: subprocess.Popen[str]) -> Found:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None
        if seen := found():
            return seen
        time.sleep(0.02)
    raise AssertionError("it did not come")


def gone(process: psutil.Process) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False
