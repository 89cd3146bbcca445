"""The digest of a file is that of its bytes, whatever was remembered; only what is unchanged is not read again."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from atlas.storage.digests import files
from atlas.storage.digests.files import file_digest

HOUR = 3600


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_remembered", {})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an hour later than files say: the time in which a second change would not show is over."""
    monkeypatch.setattr(files, "time", Later())


class Later:
    @staticmethod
    def time_ns() -> int:
        return time.time_ns() + HOUR * 10**9


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def is_remembered(path: Path) -> bool:
    return (path.stat().st_dev, path.stat().st_ino) in files._remembered


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_what_is_unchanged_is_read_once(tmp_path: Path, later: None) -> None:
    data = os.urandom(3 << 20)
    path = written(tmp_path / "a", data)
    assert file_digest(path) == sha(data) and is_remembered(path)
    place = next(iter(files._remembered))
    files._remembered[place] = files._remembered[place][0], b"from memory"
    assert file_digest(path) == b"from memory"
    (tmp_path / "link").symlink_to(path)
    assert file_digest(tmp_path / "link") == b"from memory"  # it is the same file


@pytest.mark.parametrize("how", ["size", "content", "content and time", "replaced", "renamed over"])
def test_what_has_changed_is_read_again(how: str, tmp_path: Path, later: None) -> None:
    path = written(tmp_path / "a", b"before")
    about = path.stat()
    assert file_digest(path) == sha(b"before") and is_remembered(path)
    time.sleep(0.02)  # the clock of files goes by steps of some milliseconds
    data = b"longer" * 2 if how == "size" else b"after!"
    if how == "replaced":
        path.unlink()
    if how == "renamed over":
        written(tmp_path / "b", data).replace(path)
    else:
        path.write_bytes(data)
    if how in ("content and time", "replaced", "renamed over"):
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # as copying programs set it
    assert file_digest(path) == sha(data)


def test_what_was_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """Written twice within one step of the clock it would look as before."""
    path = tmp_path / "a"
    for number in range(200):
        data = f"{number:06d}".encode()
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))  # that of its contents can be set to anything
        assert file_digest(path) == sha(data) and not is_remembered(path)


def test_what_changes_while_it_is_read_is_not_remembered(tmp_path: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a", bytes(4 << 20))
    real = files._state
    states = iter([True, False])

    def changed(about: os.stat_result) -> tuple[int, ...]:
        if not next(states):
            with path.open("r+b") as stream:
                stream.write(b"x")
            return real(path.stat())
        return real(about)

    time.sleep(0.02)
    monkeypatch.setattr(files, "_state", changed)
    file_digest(path)
    assert not is_remembered(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="files of no size that are read are Linux's")
def test_what_is_no_usual_file_is_not_remembered(later: None) -> None:
    file_digest(Path("/proc/self/status"))
    assert not files._remembered


def test_the_memory_is_bounded(tmp_path: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST", 3)
    paths = [written(tmp_path / str(number), str(number).encode()) for number in range(5)]
    for path in paths:
        file_digest(path)
    assert [is_remembered(path) for path in paths] == [False, False, True, True, True]


def test_many_threads_hash_at_once(tmp_path: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MOST", 3)
    paths = [written(tmp_path / str(number), str(number).encode()) for number in range(20)]
    wrong: list[Path] = []

    def hash_all() -> None:
        for path in paths * 20:
            if file_digest(path) != sha(path.name.encode()):
                wrong.append(path)

    threads = [threading.Thread(target=hash_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(files._remembered) <= 3
