"""The painter's routes: paint goes in to the texel, frames come out, and saving makes the edit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.storage.images import read_image, write_image

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")

import cv2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from scripts.webapp.server import make_app

LAYER = {"clip": "clip", "layer": "background", "fit": "truth"}


@pytest.fixture
def app(fresh_clip: Clip) -> FastAPI:
    return make_app(fresh_clip.folder.parent)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def opened(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.post("/api/paint", params=LAYER | asked)
    assert answer.status_code == 200, answer.text
    about: dict[str, Any] = answer.json()
    return about


def put(client: TestClient, key: str, x: int, y: int, pixels: np.ndarray) -> int:
    place = {"x": x, "y": y, "w": pixels.shape[1], "h": pixels.shape[0]}
    return client.put(f"/api/paint/{key}/paint", params=place, content=pixels.tobytes()).status_code


def frame(client: TestClient, key: str, index: int) -> np.ndarray:
    data = client.get(f"/api/paint/{key}/frames/{index}.jpg").content
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def saved(client: TestClient, key: str, edit: str) -> dict[str, Any]:
    answer = client.post(f"/api/paint/{key}/save", params={"edit": edit})
    about: dict[str, Any] = answer.json()
    while answer.status_code == 200 and about["state"]["name"] == "running":
        time.sleep(0.1)
        about = client.get(f"/api/paint/{key}/saved").json()
    return about


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)


def test_paint_is_kept_to_the_texel(client: TestClient) -> None:
    about = opened(client)
    pixels = noise(40, 30)  # colours under alpha 0 too
    assert put(client, about["id"], 7, 11, pixels) == 204
    paint = np.frombuffer(client.get(f"/api/paint/{about['id']}/paint").content, np.uint8)
    paint = paint.reshape(about["height"], about["width"], 4)
    np.testing.assert_array_equal(paint[11:51, 7:37], pixels)
    assert paint.any(-1).sum() <= pixels.any(-1).sum()


def test_a_stroke_shows_in_the_frame_and_becomes_an_edit(client: TestClient, fresh_clip: Clip) -> None:
    about = opened(client)
    before = frame(client, about["id"], 5)
    texel = client.get(f"/api/paint/{about['id']}/texel", params={"frame": 5, "x": 80, "y": 8}).json()["texel"]
    x, y = (int(value) - 8 for value in texel)
    assert put(client, about["id"], x, y, np.full((16, 16, 4), (0, 255, 0, 255), np.uint8)) == 204
    after = frame(client, about["id"], 5)
    assert after[8, 80, 1] > before[8, 80, 1] and (np.abs(after.astype(int) - before).max(-1) > 40).sum() > 10
    assert saved(client, about["id"], "green")["state"]["name"] == "done"
    edit = Edit.open(fresh_clip, "green")
    assert edit.is_painted("background") and edit.atlas_path("background").is_file()
    painted = read_image(edit.folder / "painted" / "background.png")
    np.testing.assert_array_equal(painted[y : y + 16, x : x + 16], (0, 255, 0, 255) * np.ones((16, 16, 1), np.uint8))
    again = opened(client, edit="green")  # what was painted is there to go on with
    np.testing.assert_array_equal(frame(client, again["id"], 5), after)


def test_two_windows_do_not_overwrite_each_other(client: TestClient) -> None:
    one, other = opened(client), opened(client)
    for about in (one, other):
        assert put(client, about["id"], 60, 60, noise(20, 20)) == 204
    assert saved(client, one["id"], "painted")["state"]["name"] == "done"
    answer = client.post(f"/api/paint/{other['id']}/save", params={"edit": "painted"})
    assert answer.status_code == 422 and "was changed since it was opened here" in answer.json()["error"]
    assert saved(client, other["id"], "mine")["state"]["name"] == "done"


def test_a_keyframe_is_repainted_in_its_place(client: TestClient, fresh_clip: Clip) -> None:
    edit = Edit(fresh_clip.edit_folder("keys"), "keys", "truth", {"foreground": {"frames": [4]}})
    edit.save()
    write_image(edit.keyframe_path("foreground", 4), np.full((fresh_clip.height, fresh_clip.width, 4), 90, np.uint8))
    about = opened(client, layer="foreground", edit="keys", keyframe=4)
    assert (about["width"], about["height"], about["keyframe"]) == (fresh_clip.width, fresh_clip.height, 4)
    put(client, about["id"], 10, 20, np.full((5, 6, 4), (1, 2, 3, 255), np.uint8))
    assert saved(client, about["id"], "keys")["state"]["name"] == "done"
    image = read_image(edit.keyframe_path("foreground", 4))
    assert (image[20:25, 10:16] == (1, 2, 3, 255)).all() and (image[:20, :, 3] == 90).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"clip": "../clip"}, "does not lie below"),
        ({"clip": "/etc"}, "does not lie below"),
        ({"clip": "nothing"}, "nothing"),
        ({"layer": "sky"}, "no layer 'sky'"),
        ({"fit": "none"}, "has no fit 'none'"),
        ({"edit": "../x"}, "edit"),
        ({"edit": "none", "keyframe": 3}, "no edit 'none'"),
    ],
)
def test_what_cannot_be_opened(client: TestClient, asked: dict[str, Any], said: str) -> None:
    answer = client.post("/api/paint", params=LAYER | asked)
    assert answer.status_code == 422 and said in answer.json()["error"]


def test_what_cannot_be_painted_or_saved(client: TestClient, fresh_clip: Clip) -> None:
    about = opened(client)
    key, side = about["id"], about["width"]
    assert put(client, key, side - 5, 0, noise(10, 10)) == 400
    place = {"x": 0, "y": 0, "w": 10, "h": 10}
    assert client.put(f"/api/paint/{key}/paint", params=place, content=b"\0" * 399).status_code == 400
    assert client.put(f"/api/paint/{key}/paint", params=place, content=b"\0" * 401).status_code == 400
    assert client.get(f"/api/paint/{key}/frames/{fresh_clip.frames}.jpg").status_code == 400
    assert client.get("/api/paint/unknown/paint").status_code == 404
    answer = client.post(f"/api/paint/{key}/save", params={"edit": "empty"})
    assert answer.status_code == 422 and "nothing is painted" in answer.json()["error"]
    assert not fresh_clip.edit_folder("empty").exists()


def test_the_oldest_of_many_has_to_go(client: TestClient) -> None:
    first = opened(client)
    for _ in range(3):
        opened(client)
    assert client.get(f"/api/paint/{first['id']}/paint").status_code == 404
