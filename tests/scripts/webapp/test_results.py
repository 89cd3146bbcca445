"""What an edit's folder holds, as pages show it: the film that is played, and what can be saved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atlas.clip.clip import Clip

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")

from fastapi.testclient import TestClient

from atlas.storage.stamps import write_json
from scripts.webapp.server import make_app


@pytest.fixture
def client(fresh_clip: Clip) -> Iterator[TestClient]:
    with TestClient(make_app(fresh_clip.folder.parent), base_url="http://127.0.0.1") as client:
        yield client


def test_the_film_is_found_as_soon_as_it_is_there(client: TestClient, fresh_clip: Clip) -> None:
    folder = fresh_clip.edit_folder("red")
    write_json(folder / "edit.json", {"version": 1, "fit": "default", "layers": {}})
    asked = {"clip": "clip", "edit": "red"}
    answer = client.get("/api/results", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"fps": fresh_clip.fps, "film": None, "files": []}
    for name in ("video.webm", "video.mp4", "video.mov", "sheet.png", "report.html"):
        (folder / name).write_bytes(name.encode())
    found = client.get("/api/results", params=asked).json()
    assert [(one["name"], one["save"]) for one in found["files"]] == [
        ("video.mov", True),
        ("video.mp4", True),
        ("video.webm", True),
        ("sheet", True),
        ("report", False),
    ]
    assert found["film"].startswith("/files/clip/edits/red/video.mp4?v=")
    assert client.get(found["film"]).content == b"video.mp4"
    before = found["film"]
    (folder / "video.mp4").write_bytes(b"another")
    assert client.get("/api/results", params=asked).json()["film"] != before


@pytest.mark.parametrize(
    "asked", [{"clip": "../clip", "edit": "red"}, {"clip": "clip", "edit": "../../x"}, {"clip": "clip", "edit": "no"}]
)
def test_what_is_no_edit_is_refused(client: TestClient, asked: dict[str, str]) -> None:
    answer = client.get("/api/results", params=asked)
    assert answer.status_code in (403, 404, 422) and answer.json()["error"]
