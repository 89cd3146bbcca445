"""A task's command as another machine runs it: what it leaves, what it is told, and what that machine may lack."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from scripts.plans.engines import remote
from scripts.plans.engines.protocol import Outputs
from scripts.plans.engines.remote import Work, perform

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have")
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda *_: None)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
while True:
    time.sleep(0.1)
"""
"""A command that ignores interrupts, and has started another process."""


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "logs" / "log", tmp_path / "progress" / "lines", tmp_path / "results" / "result")


def work(code: str, *words: str, folder: str = "", python: str = sys.executable) -> Work:
    return Work("id", (python, "-c", code, *words), cores=3, folder=folder)


def test_what_it_leaves(outputs: Outputs) -> None:
    code = "import os; print(*(os.environ[n] for n in ('OMP_NUM_THREADS', 'LAYERED_ATLAS_CORES', 'LAYERED_ATLAS_PROGRESS')))"
    ended = perform(work(code), outputs, lambda: False)
    assert (ended.task, ended.status) == ("id", 0) and (ended.cpu_seconds or 0) > 0 and (ended.peak_mb or 0) > 1
    assert outputs.result and outputs.result.read_text().split() == ["3", "3", str(outputs.progress)]
    ended = perform(work("import sys; print('half'); sys.exit('error: why')"), outputs, lambda: False)
    assert ended.status == 1 and outputs.log.read_text() == "error: why\n"
    assert outputs.result.read_text() != "half\n" and len(list(outputs.result.parent.iterdir())) == 1


def test_what_a_machine_lacks(outputs: Outputs, tmp_path: Path) -> None:
    assert perform(work("", folder=str(tmp_path / "no")), outputs, lambda: False).status == 2
    assert perform(work("", python="/no/python"), outputs, lambda: False).status == 2
    first, second = outputs.log.read_text().splitlines()
    assert f"does not see {tmp_path / 'no'}: put it and the clips on a disk that all nodes share" in first
    assert "has no /no/python: install this project at the same path on every node" in second


def test_what_is_to_stop_is_ended_with_all_that_it_started(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.5)
    pids = tmp_path / "pids"
    ended = perform(work(FAMILY, str(pids)), outputs, pids.exists)
    assert ended.status == -15 and not any(map(is_alive, map(int, pids.read_text().split())))
    pids.unlink()

    def fails() -> bool:
        if pids.exists() and len(pids.read_text().split()) == 2:
            raise RuntimeError("what watches it fails")
        return False

    with pytest.raises(RuntimeError):
        perform(work(FAMILY, str(pids)), outputs, fails)
    found = [psutil.Process(int(pid)) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]
    assert not psutil.wait_procs(found, 20)[1]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
