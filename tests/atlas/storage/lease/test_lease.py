"""Leases between processes and threads: one writer or several readers, and nobody is kept out by the dead."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.errors import BusyError
from atlas.storage.atomic import atomic_file, atomic_folder
from atlas.storage.lease import file as lease_file
from atlas.storage.lease import lease as leases
from atlas.storage.lease.file import LeaseFile
from atlas.storage.lease.lease import reading, writing
from atlas.storage.lease.owner import Owner

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_PATIENCE", 0.0)
    monkeypatch.setattr(lease_file, "_YIELD", 0.02)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "edit").mkdir()
    return tmp_path / "edit"


def _dead() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _left(target: Path, owner: Owner, seconds_ago: float = 0.0) -> Path:
    """The lease of somebody else."""
    path = LeaseFile.beside(target).path
    path.write_text(json.dumps(owner.to_dict()))
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


def _elsewhere(hold: str, target: Path) -> str:
    """Take a lease in another thread, which shares nothing but the process; the error, "" where there is none."""
    errors = []

    def take() -> None:
        try:
            with writing(target) if hold == "writing" else reading(target):
                errors.append("")
        except BusyError as problem:
            errors.append(str(problem))

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return errors[0]


def test_one_writes_or_several_read(target: Path) -> None:
    with reading(target), reading(target):
        assert not _elsewhere("reading", target)
        assert f"process {os.getpid()} on" in _elsewhere("writing", target)
    with writing(target):
        assert "--wait" in _elsewhere("reading", target)
        assert _elsewhere("writing", target)
    assert not _elsewhere("writing", target)


def test_what_is_not_there_is_waited_for_where_somebody_makes_it(tmp_path: Path) -> None:
    target = tmp_path / "fits" / "default"
    with reading(target):
        assert list(tmp_path.iterdir()) == []
    with writing(target):
        assert _elsewhere("reading", target)


def test_a_stage_inside_another_does_not_lock_itself_out(target: Path) -> None:
    with writing(target):
        with writing(target), reading(target):
            pass
        assert _elsewhere("writing", target)


@pytest.mark.parametrize("end", [None, ZeroDivisionError, KeyboardInterrupt])
def test_nothing_is_left(tmp_path: Path, end: type[BaseException] | None) -> None:
    target = tmp_path / "new" / "clip"
    try:
        with writing(target), writing(target, inside=True), reading(target):
            if end:
                raise end
    except BaseException as problem:
        assert type(problem) is end
    assert list(tmp_path.iterdir()) == []


def test_the_dead_keep_nobody_out(target: Path) -> None:
    _left(target, replace(Owner.here(), pid=_dead()))
    with writing(target):
        assert _elsewhere("writing", target)
    LeaseFile.beside(target).reader(replace(Owner.here(), token="f00")).write_text(
        json.dumps(replace(Owner.here(), pid=_dead(), token="f00").to_dict())
    )
    with writing(target):
        pass
    assert [path.name for path in target.parent.iterdir()] == ["edit"]


def test_readers_that_died_are_forgotten_by_the_next(target: Path) -> None:
    died = replace(Owner.here(), pid=_dead())
    LeaseFile.beside(target).reader(died).write_text(json.dumps(died.to_dict()))
    with reading(target):
        assert len(list(target.parent.glob(".*"))) == 1
    assert [path.name for path in target.parent.iterdir()] == ["edit"]


def test_a_lease_given_back_while_it_is_taken_over_is_the_next_ones(target: Path) -> None:
    """Who finds nothing to take over makes the lease as everybody does: of two, one has it."""
    lease = LeaseFile.beside(target)
    first, second = Owner.here(), replace(Owner.here(), token="f00d")
    assert lease._taken_over(first) and lease_file.is_of(lease.path, first)
    assert not lease._taken_over(second) and lease_file.is_of(lease.path, first)


def test_a_full_disk_leaves_no_lease_of_nobody(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *problem: object) -> None:
            pass

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "no space left on device")

    def opened(descriptor: int, mode: str) -> Full:
        os.close(descriptor)
        return Full()

    monkeypatch.setattr(lease_file, "open", opened, raising=False)
    with pytest.raises(OSError, match="no space left"), writing(target):
        pass
    monkeypatch.undo()
    assert [path.name for path in target.parent.iterdir()] == ["edit"]


def test_a_file_where_a_folder_should_be_is_no_matter_of_leases(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("a film")
    with reading(tmp_path / "clip", inside=True):
        assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_waiting_is_counted(target: Path) -> None:
    before = leases.waited()
    _left(target, Owner.here())
    thread = threading.Thread(target=lambda: (time.sleep(0.2), LeaseFile.beside(target).path.unlink()))
    thread.start()
    with writing(target, wait=True):
        pass
    thread.join()
    assert leases.waited() - before > 0.15


def test_a_number_given_to_another_process_is_not_the_one_that_died(target: Path) -> None:
    _left(target, replace(Owner.here(), started="1"))
    with writing(target):
        pass
    _left(target, Owner.here())  # this process itself, which lives
    with pytest.raises(BusyError), writing(target):
        pass


@pytest.mark.parametrize("seconds", [50.0, 70.0, -70.0])
def test_another_machine_is_believed_for_a_minute(target: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_file, "TOUCHED", -0.9)
    path = _left(target, replace(Owner.here(), machine="another", host="render-7", pid=_dead()), seconds)
    if abs(seconds) < lease_file.STALE:
        with pytest.raises(BusyError, match="render-7"), writing(target):
            pass
        assert path.exists()
    else:
        with writing(target):
            assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": -1}', '{"pid": 1, "host": 3}'])
def test_what_is_no_lease_counts_as_one_that_is_being_written(target: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_file, "TOUCHED", -0.9)
    path = LeaseFile.beside(target).path
    path.write_text(text)
    with pytest.raises(BusyError), writing(target):
        pass
    os.utime(path, (1, 1))
    with writing(target):
        pass


def test_who_was_replaced_puts_nothing_in_place(target: Path) -> None:
    (target / "a").write_text("theirs")
    with writing(target):
        _left(target, replace(Owner.here(), command="edit.py"))
        with pytest.raises(BusyError, match=r"edit\.py .* has taken its place"), atomic_file(target / "a") as temporary:
            temporary.write_text("ours")
        with pytest.raises(BusyError), atomic_folder(target / "b"):
            pass
    assert (target / "a").read_text() == "theirs" and [path.name for path in target.iterdir()] == ["a"]
    assert LeaseFile.beside(target).path.exists(), "it is another's"


def test_a_held_lease_is_touched(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TOUCHED", 0.01)
    monkeypatch.setattr(leases, "_toucher", None)
    path = LeaseFile.beside(target).path
    with writing(target):
        os.utime(path, (1, 1))
        end = time.monotonic() + 5
        while path.stat().st_mtime == 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_processes_that_wait_lose_nothing(target: Path) -> None:
    count = target / "count"
    count.write_text("0")
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from atlas.storage.lease import lease
lease._PAUSE = 0.001
count = Path({str(count)!r})
for _ in range(5):
    with lease.writing(count, wait=True):
        number = int(count.read_text())
        time.sleep(0.002)
        count.write_text(str(number + 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert count.read_text() == "15" and [path.name for path in target.iterdir()] == ["count"]
