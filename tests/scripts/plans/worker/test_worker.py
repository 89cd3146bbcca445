"""Workers: the bytes and the outputs of single commands, nothing that leaks from one to the next, and how they die."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from atlas.clip.clip import Clip
from atlas.storage.stamps import digest
from atlas.system.interrupt import INTERRUPTED, SAID
from atlas.system.progress import PROGRESS_FILE
from scripts.plans.engines.process import environment
from scripts.plans.plan import Task
from scripts.plans.worker.messages import Answer, Request
from scripts.plans.worker.process import Worker, suits

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have")


class End(NamedTuple):
    status: int
    cpu: float | None
    peak: float | None
    goes_on: bool


class Working:
    """A worker whose tasks are waited for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ends = folder, queue.SimpleQueue[End]()
        self.worker = Worker(environment(1, folder / "unused"), folder / "log.txt")

    def begin(self, *command: str, result: Path | None = None) -> None:
        log, progress = self.folder / "log.txt", self.folder / "progress.jsonl"
        request = Request(command, str(log), str(progress), None if result is None else str(result))
        assert self.worker.begin(request, lambda *end: self.ends.put(End(*end)))

    def end(self) -> End:
        return self.ends.get(timeout=300)

    def done(self, *command: str, result: Path | None = None) -> End:
        self.begin(*command, result=result)
        return self.end()


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Working]:
    made = Working(tmp_path)
    yield made
    made.worker.retire()
    assert made.worker.join(60)


def script(folder: Path, code: str, name: str = "script.py") -> str:
    (folder / name).write_text(textwrap.dedent(code))
    return str(folder / name)


def alone(*command: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, as people start it."""
    own = environment(1, Path("unused"))
    del own[PROGRESS_FILE]
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=own, capture_output=True, text=True, check=True)


def test_the_bytes_are_those_of_single_commands(fresh_clip: Clip, tmp_path: Path, working: Working) -> None:
    """The same edit, by one worker after another edit of another layer, and by commands of their own."""
    other = tmp_path / "other" / "clip"
    shutil.copytree(fresh_clip.folder, other)

    def commands(clip: Path, name: str, layer: str, effect: str) -> list[list[str]]:
        edit = ["scripts/edit.py", "--name", name, "--layer", layer, "--fit", "truth", "--editor", "filter", "--filter", effect]
        rest = [["scripts/aggregate.py", "--edit", name, "--method", "mean"], ["scripts/render.py", "--edit", name]]
        return [[words[0], str(clip), *words[1:], "--quiet"] for words in [[*edit, "--keyframes", "auto:2"], *rest]]

    ends = []
    for command in [*commands(other, "one", "background", "oil"), *commands(other, "two", "foreground", "sketch")]:
        ends.append(working.done(*command))
    assert all(end.status == 0 and end.goes_on for end in ends)
    said = ""
    for command in commands(fresh_clip.folder, "two", "foreground", "sketch"):
        told = alone(*command)
        said += told.stderr + told.stdout
    assert digest(other / "edits" / "two") == digest(fresh_clip.edit_folder("two"))
    log = (tmp_path / "log.txt").read_text().replace(str(other), str(fresh_clip.folder))
    assert _without_speed(log).endswith(_without_speed(said))
    # Loaded once, by the first: what is paid for it is its own, and no time is counted twice.
    assert ends[0].cpu is not None and ends[3].cpu is not None and ends[0].cpu > ends[3].cpu
    spent = psutil.Process(working.worker.pid).cpu_times()
    assert sum(end.cpu or 0 for end in ends) == pytest.approx(spent.user + spent.system, rel=0.3)


def _without_speed(text: str) -> str:
    return "\n".join(line.partition(", rendered at")[0] for line in text.splitlines())


LEAKY = """
    import os, random, signal, sys, tempfile, threading, warnings
    import cv2, numpy as np, torch
    os.environ["LEAKED"] = "1"
    del os.environ["HOME"]
    os.chdir(tempfile.gettempdir())
    sys.path.insert(0, "/leaked")
    sys.argv.append("leaked")
    sys.excepthook = print
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        signal.signal(getattr(signal, name), lambda *_: None)
    warnings.simplefilter("error")
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    cv2.setNumThreads(3)
    cv2.setRNGSeed(5)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    threading.Thread(target=lambda: print("a thread has ended", file=sys.stderr)).start()
    sys.stdout = sys.stderr
"""
STATE = """
    import json, os, random, signal, sys, threading, warnings
    import cv2, numpy as np, torch
    import atlas.system.parallel  # as each command does: it gives OpenCV its share of the cores
    leaked = [os.environ.get("LEAKED"), os.environ.get("HOME"), os.getcwd(), "/leaked" in sys.path, len(sys.argv)]
    handlers = [str(signal.getsignal(getattr(signal, name))) for name in ("SIGTERM", "SIGHUP", "SIGUSR1")]
    warned = [str(one) for one in warnings.filters if one[0] == "error"]
    threads = [torch.get_num_threads(), cv2.getNumThreads(), threading.active_count()]
    torch_state = [str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()]
    torch_state += [torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark]
    numbers = cv2.randu(np.zeros(4, np.uint8), 0, 255).tolist()
    seeds = [torch.initial_seed() == 5, random.random() == random.Random(5).random()]
    seeds += [bool(np.random.rand() == np.random.RandomState(5).rand())]
    warnings.warn("each time")
    print(json.dumps([leaked, handlers, warned, threads, torch_state, np.geterr(), str(np.array([1 / 3])), numbers, seeds,
                      sys.excepthook is sys.__excepthook__, sys.stdin.read()]))
"""


def test_nothing_leaks(tmp_path: Path, working: Working) -> None:
    state, result = script(tmp_path, STATE, "state.py"), tmp_path / "result.json"
    expected = alone(state)
    working.done(state, result=result)
    assert json.loads(result.read_text()) == json.loads(expected.stdout)
    leaky = working.done(script(tmp_path, LEAKY))
    assert leaky.status == 0 and leaky.goes_on
    log = tmp_path / "log.txt"
    assert "a thread has ended" in log.read_text()
    log.unlink()
    assert working.done(state, result=result).goes_on
    assert json.loads(result.read_text()) == json.loads(expected.stdout)
    assert log.read_text() == expected.stderr  # what was warned of once is warned of again


def test_what_cannot_be_taken_away_ends_with_the_worker(tmp_path: Path) -> None:
    left = f"""
        import builtins, pathlib, subprocess, sys, threading, time
        if sys.argv[1] == "thread":
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        elif sys.argv[1] == "lease":
            from atlas.storage.lease.lease import writing
            builtins.held = writing(pathlib.Path({str(tmp_path / "held")!r}))
            builtins.held.__enter__()
        elif sys.argv[1] == "program":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=False)
            pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
        else:
            sys.exit("error: why")
    """
    for what in ("thread", "lease", "program", "error"):
        working = Working(tmp_path)
        end = working.done(script(tmp_path, left), what)
        assert (end.status, end.goes_on) == (what == "error", False), what
        assert working.worker.join(60)
        assert not working.worker.begin(Request((), "", ""), print)
    assert (tmp_path / "log.txt").read_text() == "error: why\n"
    assert not psutil.pid_exists(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_dies_with_its_task(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
        import pathlib, sys, time
        from dataclasses import dataclass
        from atlas.system.command import CommonOptions, run_command
        def stage(options):
            pathlib.Path({str(tmp_path / "begun")!r}).touch()
            for _ in range(6000):  # a signal that comes just before a long sleep begins would wait for its end
                time.sleep(0.1)
        if __name__ == "__main__":
            run_command(CommonOptions, stage)
    """
    working = Working(tmp_path)
    working.begin(script(tmp_path, code), "--quiet")
    until = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < until and working.worker.join(0.05) is False
    os.killpg(working.worker.pid, number)
    end = working.end()
    assert not end.goes_on and (end.cpu or 0) > 0.1
    assert end.status == (INTERRUPTED if number == signal.SIGINT else -signal.SIGKILL)
    assert (tmp_path / "log.txt").read_text() == (f"{SAID}\n" if number == signal.SIGINT else "")
    assert working.worker.join(60)


def test_one_that_ends_as_a_task_comes_tells_so(tmp_path: Path) -> None:
    """Its reader closes the pipe at its death: that may be in the very moment in which a task is written there."""
    working = Working(tmp_path)
    assert working.worker._process.stdin is not None
    working.worker._process.stdin.close()
    working.begin(script(tmp_path, "pass"))
    end = working.end()
    assert end.status != 0 and not end.goes_on
    assert working.worker.join(60)


def test_a_worker_that_waits_ends_with_its_engine(tmp_path: Path) -> None:
    """Whoever started it is killed: its end of the pipe is closed, as that of any process that dies."""
    code = f"""
        import os, pathlib, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.scripts.plans.worker.test_worker import Working, script
        folder = pathlib.Path({str(tmp_path)!r})
        working = Working(folder)
        assert working.done(script(folder, "pass")).goes_on
        print(working.worker.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    until = time.monotonic() + 60
    while psutil.pid_exists(int(killed.stdout)) and psutil.Process(int(killed.stdout)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_only_commands_of_stages_share_a_process(tmp_path: Path) -> None:
    shared = [["scripts/fit.py", "CLIP"], ["-m", "scripts.sweeps.share", "CLIP"]]
    own = [["-c", "pass"], ["-m", "scripts.plans.store.stage", "scripts/fit.py"], ["scripts/app.py"], ["/tmp/scripts/fit.py"]]
    for commands, expected in ((shared, True), (own, False)):
        for command in commands:
            assert suits(Task.of("fit", command, tmp_path, "fit")) is expected, command


def test_messages() -> None:
    request = Request(("scripts/fit.py", "a\nb"), "log", "progress", None, "weights")
    assert Request.of(request.line()) == request and request.line().count(b"\n") == 1
    answer = Answer(0, 1.5, None, 300.0, False, True)
    assert Answer.of(answer.line()) == answer
