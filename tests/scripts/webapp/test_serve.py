"""The command of the app: where it listens, what it asks for, what it says, and that it is there at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.webapp.forms import STAGES
from scripts.webapp.serve import PORT, AppOptions, address_of, listening, serve

APP = Path(__file__).resolve().parents[3] / "scripts" / "app.py"


def test_the_next_free_port_unless_one_is_given() -> None:
    with listening("127.0.0.1", None) as first, listening("127.0.0.1", None) as second:
        ports = [one.getsockname()[1] for one in (first, second)]
        assert PORT <= ports[0] < ports[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{ports[0]} .*choose another --port"):
            listening("127.0.0.1", ports[0])
    with pytest.raises(UserError, match="--port 70000 is no port"):
        listening("127.0.0.1", 70000)
    with pytest.raises(UserError, match="cannot listen at 192.0.2.1"):
        listening("192.0.2.1", None)


def test_addresses() -> None:
    assert address_of("127.0.0.1", 7860, None) == "http://127.0.0.1:7860/"
    assert address_of("::1", 7860, None) == "http://[::1]:7860/"
    assert address_of("0.0.0.0", 80, "a b") == f"http://{socket.gethostname()}:80/?token=a%20b"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AppOptions(token="short"), "--token is too short"),
        (AppOptions(token="with spaces\nand lines"), "--token is too short or holds odd"),
        (AppOptions(largest_upload=0), "--largest-upload 0 is out of range"),
        (AppOptions(root=APP), "is a file: name a folder of clips"),
    ],
)
def test_what_will_not_do(options: AppOptions, words: str) -> None:
    with pytest.raises(UserError, match=words):
        serve(options)


def test_without_its_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.webapp.serve._NEEDED", ("fastapi", "nowhere_to_be_found"))
    with pytest.raises(UserError, match=r"the app needs nowhere_to_be_found: pip install -e .\[ui\]"):
        serve(AppOptions())


@pytest.mark.slow
def test_it_answers_without_torch_and_tells_its_address(tmp_path: Path) -> None:
    """A folder in place of torch: who imports it gets an error."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch was loaded')")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    (scratch := tmp_path / "scratch").mkdir()
    of_others = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    process = subprocess.Popen(
        [sys.executable, str(APP), str(tmp_path / "root")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=of_others | {"PYTHONPATH": path, "TMPDIR": str(scratch)},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("open http://127.0.0.1:"), said + process.stdout.read()
        for route in ("", "api/clips", *(f"api/forms/{stage}" for stage in STAGES)):
            with urllib.request.urlopen(said.removeprefix("open ").strip() + route) as answer:
                assert answer.status == 200
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 143 and list(scratch.iterdir()) == []  # it was told to end, and left nothing


@pytest.mark.slow
def test_elsewhere_it_makes_up_a_token(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(APP), str(tmp_path / "root"), "--host", "0.0.0.0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("open ").strip()
        token = address.partition("?token=")[2]
        assert len(token) >= 32
        port = address.partition("?")[0].rstrip("/").rpartition(":")[2]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/clips", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(30)
