"""Half-made files and folders: those of the dead go, those of the living stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.errors import BusyError
from atlas.storage.atomic import atomic_file, atomic_folder
from atlas.storage.lease import remnants
from atlas.storage.lease.owner import machine
from atlas.storage.lease.remnants import bring_back, is_left_over, remove_left_overs


@pytest.fixture(scope="module")
def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _made(folder: Path, name: str, pid: int, where: str = "", end: str = "") -> Path:
    path = folder / f".{name}-making-{where or machine()}-{pid}-x{end}"
    path.mkdir()
    (path / "00000.png").write_text("half")
    return path


def test_a_living_twin_keeps_its_folder(tmp_path: Path, dead: int) -> None:
    living, died = _made(tmp_path, "frames", os.getppid()), _made(tmp_path, "frames", dead)
    elsewhere = _made(tmp_path, "frames", dead, "0123abcd")
    with atomic_folder(tmp_path / "frames") as making, atomic_folder(tmp_path / "frames") as twin:
        assert making.is_dir() and living.is_dir() and elsewhere.is_dir() and not died.exists()
        (making / "a").write_text("")
        (twin / "a").write_text("")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([living.name, elsewhere.name, "frames"])
    os.utime(elsewhere, (1, 1))
    assert is_left_over(elsewhere)


def test_two_that_replace_the_same_folder_leave_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "frames", Path.replace

    def twin_comes_first(source: Path, target: Path) -> Path:
        if target == path:
            monkeypatch.setattr(Path, "replace", real)
            with atomic_folder(path) as making:
                (making / "twin").write_text("")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", twin_comes_first)
    with atomic_folder(path) as making:
        (making / "ours").write_text("")
    assert [entry.name for entry in path.iterdir()] == ["ours"] and [entry.name for entry in tmp_path.iterdir()] == ["frames"]


def test_a_folder_that_was_deleted_is_not_made_again_in_part(tmp_path: Path) -> None:
    with pytest.raises(BusyError, match="was removed"), atomic_folder(tmp_path / "frames") as making:
        making.rmdir()
        with atomic_file(making / "00007.png") as temporary:
            temporary.write_text("the last one")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_died_between_two_names_gives_the_folder_back(tmp_path: Path, dead: int) -> None:
    _made(tmp_path, "default", dead, end="-old")
    bring_back(tmp_path / "default")
    assert (tmp_path / "default" / "00000.png").read_text() == "half"


def test_files_of_the_dead_go_with_their_folder(tmp_path: Path, dead: int) -> None:
    (tmp_path / "cache").mkdir()
    names = [f".film-making-{machine()}-{pid}-abc.mp4" for pid in (dead, os.getpid(), os.getppid())]
    for name in names:
        (tmp_path / "cache" / name).write_text("")
    (tmp_path / "cache" / ".my-making-of.txt").write_text("a user's own")
    with remnants.made_here(tmp_path / "cache" / names[1]):
        remove_left_overs(tmp_path)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([*names[1:], ".my-making-of.txt"])
