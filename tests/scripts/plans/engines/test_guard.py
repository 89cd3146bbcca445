"""The guard of a command: it ends as the command does, and nothing outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

GUARD = Path(__file__).resolve().parents[4] / "scripts" / "plans" / "engines" / "guard.py"
FAMILY = "import subprocess, time; subprocess.Popen(['sleep', '600']); print('on', flush=True); time.sleep(600)"
"""A command that starts another process."""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the guard is for POSIX")


def guarded(code: str, python: str = sys.executable) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", str(GUARD), python, "-c", code]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def family(guard: subprocess.Popen[bytes]) -> list[psutil.Process]:
    assert guard.stdout and guard.stdout.readline() == b"on\n"
    found = psutil.Process(guard.pid).children(recursive=True)
    assert len(found) == 2
    return found


@pytest.mark.parametrize(
    ("code", "status"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9), ("import os; os.abort()", -6)],
)
def test_it_ends_as_the_command_does(code: str, status: int) -> None:
    assert guarded(code).wait(60) == status


def test_what_cannot_be_started_is_said() -> None:
    guard = guarded("", python="/no/such/python")
    assert guard.wait(60) == 2 and guard.stderr
    assert guard.stderr.read().decode().startswith("error: /no/such/python cannot be started on ")


def test_an_interrupt_is_for_the_command_also_where_whoever_started_it_blocks_it() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as Ray's workers do
    try:
        guard = guarded(f"try:\n exec({FAMILY!r})\nexcept KeyboardInterrupt:\n raise SystemExit(130)")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    family(guard)
    os.killpg(guard.pid, signal.SIGINT)
    assert guard.wait(60) == 130


def test_all_is_killed_once_the_other_process_has_died() -> None:
    guard = guarded(FAMILY)
    found = family(guard)
    assert guard.stdin
    guard.stdin.close()
    assert guard.wait(60) == -signal.SIGKILL and not psutil.wait_procs(found, 20)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system, as Linux alone offers it")
def test_the_command_dies_with_the_guard() -> None:
    guard = guarded(FAMILY)
    command, other = family(guard)
    guard.kill()
    assert not psutil.wait_procs([command], 20)[1]
    os.killpg(guard.pid, signal.SIGKILL)  # what whoever started the guard does next
    assert not psutil.wait_procs([other], 20)[1]
