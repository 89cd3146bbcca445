"""Uploads: whole and checked or not there at all, and never more than they may be."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from served import Answer, Served, serving

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.video.source import open_source
from atlas.video.writing import write_video
from scripts.webapp.uploads import MOST, cleaned

LARGEST = 8 << 20


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app with small uploads."""
    with serving(tmp_path_factory.mktemp("uploads") / "root", largest_upload=LARGEST) as served:
        yield served


@pytest.fixture
def app(small: Served) -> Served:
    """The same over an empty root."""
    for path in small.root.iterdir():
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    return small


@pytest.fixture(scope="module")
def film(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, (sample_clip.frame(i) for i in range(sample_clip.frames)), 24)
    return path.read_bytes()


def _left(app: Served) -> list[str]:
    """All files below the root, hidden and half-made ones too."""
    return sorted(os.path.relpath(os.path.join(at, name), app.root) for at, _, names in os.walk(app.root) for name in names)


def _upload(app: Served, name: str, data: bytes, rest: str = "") -> Answer:
    return app.ask("POST", f"/api/upload?name={name}{rest}", data)


def test_a_film(app: Served, film: bytes) -> None:
    answer = _upload(app, "film.mp4", film)
    assert (answer.status, answer.json["path"]) == (201, "uploads/film.mp4")
    assert open_source(app.root / "uploads" / "film.mp4").frames == 12
    assert app.get(answer.json["url"]).body == film
    assert _upload(app, "film.mp4", film).json["path"] == "uploads/film-2.mp4"
    assert _left(app) == ["uploads/film-2.mp4", "uploads/film.mp4"]


def test_a_folder_of_frames(app: Served, sample_clip: Clip) -> None:
    data = sample_clip.frame_path(0).read_bytes()
    assert _upload(app, "00000.png", data).status == 422  # one single frame
    assert app.post("/api/upload/folder?name=my%20frames", {}).json == {"folder": "my frames", "path": "uploads/my frames"}
    for index in range(3):
        assert _upload(app, f"{index:05d}.png", data, "&folder=my%20frames").status == 201
    assert _upload(app, "00000.png", data, "&folder=my%20frames").status == 422  # frames of two clips would be mixed
    assert app.post("/api/upload/folder?name=my%20frames", {}).json["folder"] == "my frames-2"
    assert open_source(app.root / "uploads" / "my frames").frames == 3


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("film.mp4", b"no film at all" * 1000, "film.mp4"),
        ("film.mp4", b"", "film.mp4"),
        ("film.exe", b"MZ", "neither a video nor an image"),
        ("film", b"", "neither a video nor an image"),
        ("page.html", b"<script>", "neither a video nor an image"),
        ("film.mp4.sh", b"", "neither a video nor an image"),
        ("frame.png", b"\x89PNG", "single frame"),
    ],
)
def test_a_bad_file_shows_its_line_and_leaves_nothing(name: str, data: bytes, words: str, app: Served) -> None:
    answer = _upload(app, name, data)
    assert answer.status == 422 and words in answer.json["error"] and "making" not in answer.json["error"]
    assert "\n" not in answer.json["error"] and _left(app) == []


def test_a_bad_frame(app: Served) -> None:
    app.post("/api/upload/folder?name=frames", {})
    answer = _upload(app, "00000.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "&folder=frames")
    assert answer.status == 422 and "00000.png" in answer.json["error"] and _left(app) == []


@pytest.mark.parametrize(
    "name",
    ["../film.mp4", "..%2f..%2ffilm.mp4", "%2fetc%2ffilm.mp4", "C:%5cfilm.mp4", "a%00/../film.mp4", "%0afilm.mp4", "-film.mp4"],
)
def test_names_lead_nowhere_else(name: str, app: Served, film: bytes) -> None:
    answer = _upload(app, name, film)
    assert answer.status == 422 or answer.json["path"].count("/") == 1
    assert all(left in ("uploads/film.mp4", "uploads/C film.mp4") for left in _left(app))
    assert not (app.root.parent / "film.mp4").exists()
    for folder in ("..", "../..", "%2fetc", "nothing", ".", "..%5c.."):
        assert _upload(app, "0.png", b"", f"&folder={folder}").status == 422


def test_where_uploads_is_a_link_nothing_is_written(app: Served, film: bytes, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (app.root / "uploads").symlink_to(tmp_path / "outside")
    answer = _upload(app, "film.mp4", film)
    assert answer.status == 422 and "link" in answer.json["error"]
    assert app.post("/api/upload/folder?name=frames", {}).status == 422
    assert list((tmp_path / "outside").iterdir()) == []


def test_two_gigabytes_are_refused_before_they_come(app: Served) -> None:
    answer = app.ask("POST", "/api/upload?name=film.mp4", Content_Length=str(2 << 30))
    assert answer.status == 413 and _left(app) == []


def test_two_gigabytes_without_a_length_are_refused_while_they_come(app: Served) -> None:
    """Sent in chunks until the server has had enough: soon after what an upload may have, in a little memory."""
    chunk = os.urandom(1 << 20)
    before, sent, peak = psutil.Process().memory_info().rss, 0, 0
    with socket.create_connection(("127.0.0.1", app.port), timeout=30) as connection:
        head = f"POST /api/upload?name=film.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            for _ in range(2048):
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                sent += len(chunk)
                peak = max(peak, psutil.Process().memory_info().rss)
        answer = b""
        with contextlib.suppress(OSError):
            answer = connection.recv(4096)
    assert sent < LARGEST + (64 << 20), "it took far more than it may"
    assert not answer or answer.split()[1] in (b"413", b"422")
    assert peak - before < 100e6
    deadline = time.monotonic() + 5
    while _left(app) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _left(app) == []


def test_one_that_breaks_off_leaves_nothing(app: Served, film: bytes) -> None:
    with socket.create_connection(("127.0.0.1", app.port)) as connection:
        head = f"POST /api/upload?name=film.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nContent-Length: {len(film)}\r\n\r\n"
        connection.sendall(head.encode() + film[: len(film) // 2])
        deadline = time.monotonic() + 5
        while not _left(app) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _left(app) != ["uploads/film.mp4"]
    while _left(app) and time.monotonic() < deadline + 5:
        time.sleep(0.01)
    assert _left(app) == []


def test_only_a_few_at_once(app: Served, film: bytes) -> None:
    """Those that hang in the middle take no place from the rest of the app."""
    waiting = []
    try:
        for number in range(MOST):
            connection = socket.create_connection(("127.0.0.1", app.port))
            head = f"POST /api/upload?name=film{number}.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\n"
            connection.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n" + b"0" * 1000)
            waiting.append(connection)
        deadline = time.monotonic() + 10
        while len(_left(app)) < MOST and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = _upload(app, "film.mp4", film)
        assert answer.status == 422 and "coming in" in answer.json["error"]
        assert app.get("/api/clips").status == 200
    finally:
        for connection in waiting:
            connection.close()


def test_the_same_name_twice_at_once(app: Served, film: bytes) -> None:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(_upload(app, "film.mp4", film))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.json["path"] for answer in answers} == {f"uploads/film{end}.mp4" for end in ("", "-2", "-3")}


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.webapp.uploads.FREE", 1 << 60)
    with serving(tmp_path / "root") as app:
        answer = _upload(app, "film.mp4", b"0" * 1000)
    assert answer.status == 422 and "free some space" in answer.json["error"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("film.mp4", "film.mp4"),
        ("../../etc/film.mp4", "film.mp4"),
        ("C:\\Users\\me\\film.mp4", "film.mp4"),
        ("a\0b\n\u202ec.mp4", "a b c.mp4"),
        ("  .hidden.mp4", "hidden.mp4"),
        ("-rf.mp4", "rf.mp4"),
        ("e\u0301t\u00e9.mov", "\u00e9t\u00e9.mov"),
        ("a" * 500 + ".mp4", "a" * 80 + ".mp4"),
    ],
)
def test_names_are_cleaned(name: str, expected: str) -> None:
    assert cleaned(name) == expected


@pytest.mark.parametrize("name", ["", "..", "/", ".mp4", "con.mp4", "\u202e.mp4"])
def test_names_of_which_nothing_is_left(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a file's name"):
        cleaned(name)
