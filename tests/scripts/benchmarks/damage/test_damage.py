"""Damaged files: 200 of them through the stages; and that damage repeats, and that what goes wrong is noticed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.benchmarks.damage.mutations import mutate_folder, mutated
from scripts.benchmarks.damage.trying import Try, TryDamageOptions, _ended, _Writes, make_tries, try_damage

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "bench_damage.py"


def test_two_hundred_damaged_files_are_read_or_refused_in_a_line() -> None:
    ended = subprocess.run([sys.executable, str(SCRIPT), "--count", "200", "--quiet"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.startswith("200 damaged files (") and " refused, " in ended.stdout


@pytest.mark.parametrize("suffix", [".json", ".png", ".npy", ".safetensors", ".mp4", ".csv", ".txt"])
def test_the_same_draw_gives_the_same_damage(suffix: str) -> None:
    data = b'{"version": 1, "names": ["a", "b"], "nested": {"x": [1, 2, 3.5]}}'
    once, again = ([mutated(data, suffix, random.Random(f"0/{number}")) for number in range(300)] for _ in range(2))
    assert once == again, "whatever was damaged before"
    assert len({*once} - {data}) > 100


def test_folders_are_damaged_the_same_way(tmp_path: Path) -> None:
    found = []
    for twin in ("a", "b"):
        folder = tmp_path / twin
        for number in range(30):
            below = folder / str(number)
            below.mkdir(parents=True)
            for name in ("00000.png", "00001.png"):
                (below / name).write_bytes(name.encode() * 20)
            mutate_folder(below, random.Random(number))
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found.append([(str(path.relative_to(folder)), path.read_bytes()) for path in files])
    assert found[0] == found[1] and len(found[0]) not in (0, 60)


def refused() -> None:
    raise UserError("clip.json is damaged: run scripts/prepare.py again")


def broken() -> None:
    raise KeyError("version")


@pytest.mark.parametrize(("act", "ended", "is_fault"), [(str, "read", False), (refused, "refused", False)])
def test_how_a_stage_may_end(act: object, ended: str, is_fault: bool) -> None:
    assert _ended(act) == (ended, is_fault)


def test_a_traceback_is_a_fault_that_says_where() -> None:
    ended, is_fault = _ended(broken)
    assert is_fault and ended.startswith("KeyError: 'version' (test_damage.py:")


def test_what_is_written_elsewhere_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (tmp_path / "mine").write_text("before anybody looked")
    writes = _Writes(room)
    with writes.watched():
        (room / "a").write_text("where it should be")
        (room / "a").replace(room / "b")
        (tmp_path / "mine").read_text()
        assert writes.seen == []
        (tmp_path / "b").write_text("elsewhere")
        (room / "b").replace(tmp_path / "c")
        (room / ".." / "c").unlink()
    assert [line.split()[0] for line in writes.seen] == ["open", "os.rename", "os.remove"]


def odd_work(connection: Connection, folder: Path, seed: int, first: int, end: int) -> None:
    """Hangs at number 1, dies at number 3."""
    for number in range(first, end):
        connection.send((number, "text", f"number {number}"))
        if number == 1:
            time.sleep(60)
        if number == 3:
            os._exit(7)
        connection.send(Try(number, "text", f"number {number}", "read", False, 0.0))


def test_what_hangs_or_dies_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    tries = list(make_tries(TryDamageOptions(count=5), tmp_path, odd_work, longest=2))
    assert [one.ended for one in tries] == ["read", "no end after 2 s", "read", "the process ended with 7", "read"]
    assert [one.is_fault for one in tries] == [False, True, False, True, False]
    assert [one.number for one in tries] == [*range(5)] and tries[3].what == "number 3"


def test_nothing_to_try() -> None:
    with pytest.raises(UserError, match="--count 0 --first 0: nothing to try"):
        try_damage(TryDamageOptions(count=0))
