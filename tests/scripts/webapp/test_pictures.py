"""Pictures for pages: frames, a mask at once, a filter on one frame; and nothing of what lies outside of the root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.sample.files import write_sample
from atlas.sample.scene import make_sample
from atlas.storage.images import read_image

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")

import cv2
from fastapi.testclient import TestClient

from scripts.webapp.server import make_app


@pytest.fixture
def root(fresh_clip: Clip) -> Path:
    return fresh_clip.folder.parent


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    with TestClient(make_app(root), base_url="http://127.0.0.1") as client:
        yield client


def image(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_a_box_is_seen_before_the_clip_is_made(client: TestClient, root: Path) -> None:
    write_sample(make_sample(frames=6, height=136, width=240), root / "film", made_from="", choices={}, quiet=True)
    about = client.get("/api/see/source", params={"path": "film/frames"}).json()
    assert (about["frames"], about["width"], about["height"]) == (6, 240, 136)
    truth = read_image(root / "film" / "masks" / "00000.png")[..., 0] > 0
    ys, xs = np.nonzero(truth)
    box = f"box:{xs.min() - 2},{ys.min() - 2},{np.ptp(xs) + 5},{min(135, ys.max() + 3) - ys.min() + 2}"
    answer = client.get("/api/see/mask.png", params={"path": "film/frames", "masks": box})
    assert answer.status_code == 200, answer.text
    options = PrepareOptions(source=root / "film" / "frames", clip=root / "made", masks=box, quiet=True)
    made = read_image(prepare(options).mask_path("foreground", 0))[..., 0]
    shown = image(answer.content)
    edge = (shown[..., :3] == 255).all(-1)
    np.testing.assert_array_equal(shown[~edge, 3], (made * 0.45).astype(np.uint8)[~edge])  # to the bit, but for the outline
    assert (made[~edge] > 127).any() and ((made > 0) & truth).sum() > 0.5 * truth.sum()
    answer = client.get("/api/see/mask.png", params={"path": "film/frames", "masks": "box:0,0,900,900"})
    assert answer.status_code == 422 and "does not lie inside the 240x136 frame" in answer.json()["error"]


def test_frames_of_a_clip_and_its_film(client: TestClient, fresh_clip: Clip) -> None:
    frame = image(client.get("/api/see/frames/3.jpg", params={"clip": "clip"}).content)[..., ::-1]
    assert np.abs(frame.astype(int) - fresh_clip.frame(3)).mean() < 4
    film = client.get("/api/see/source.mp4", params={"clip": "clip"})
    assert film.status_code == 200 and film.content[4:8] == b"ftyp"
    assert film.headers["cache-control"] == "no-cache"  # the address stays where the clip is made anew
    part = client.get("/api/see/source.mp4", params={"clip": "clip"}, headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and len(part.content) == 100


def test_a_filter_on_one_frame(client: TestClient, fresh_clip: Clip) -> None:
    asked = {"clip": "clip", "fit": "truth", "layer": "foreground", "filter": "invert"}
    frame = fresh_clip.frame(4).astype(int)
    edited = image(client.get("/api/see/filter/4.jpg", params=asked).content)[..., ::-1].astype(int)
    inside = read_image(fresh_clip.mask_path("foreground", 4))[..., 0] > 250
    inner = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0
    outer = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))) == 0
    assert np.abs(edited - (255 - frame))[inner].mean() < 20 and np.abs(edited - frame)[outer].mean() < 6
    answer = client.get("/api/see/filter/4.jpg", params=asked | {"filter": "invert:sterngth=1"})
    assert answer.status_code == 422 and "has no option" in answer.json()["error"]
    known = client.get("/api/see/filters", params={"clip": "clip"}).json()
    assert known["frames"] == fresh_clip.frames and {"recolour", "sketch"} <= {one["name"] for one in known["filters"]}


ROUTES = (
    "source?path=",
    "source/0.jpg?path=",
    "mask.png?masks=auto&path=",
    "frames/0.jpg?clip=",
    "source.mp4?clip=",
    "filters?clip=",
    "filter/0.jpg?layer=all&filter=grey&clip=",
)


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../b"])
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_outside_of_the_root(client: TestClient, route: str, path: str) -> None:
    answer = client.get(f"/api/see/{route}{path}")
    assert answer.status_code == 422 and "does not lie below" in answer.json()["error"]


def test_points_are_seen_as_the_segmenter_answers_them(client: TestClient, root: Path) -> None:
    pytest.importorskip("transformers", reason="SAM 2 needs transformers: pip install -e .[diffusion]")
    import torch

    from atlas.masks.learned.follow import soft_mask
    from atlas.masks.learned.prompts import Point, Prompt
    from atlas.masks.learned.segmenter import Segmenter
    from tests.atlas.masks.learned import tiny

    write_sample(make_sample(frames=3, height=64, width=96), root / "film", made_from="", choices={}, quiet=True)
    folder = tiny.save_segmenter(root / "sam", seed=2)
    asked = {"path": "film/frames", "masks": "points:1:40,30,-80,10", "frame": 1, "segmenter": "sam"}
    answer = client.get("/api/see/mask.png", params=asked)
    assert answer.status_code == 200, answer.text
    prompt = Prompt((Point(40, 30), Point(80, 10, inside=False)))
    frame = read_image(root / "film" / "frames" / "00001.png", mode="rgb")
    (logits,) = Segmenter(folder, torch.device("cpu")).answers(frame, [prompt], [None])
    shown = image(answer.content)
    edge = (shown[..., :3] == 255).all(-1)
    np.testing.assert_array_equal(shown[~edge, 3], (soft_mask(logits, (96, 64)) * 0.45).astype(np.uint8)[~edge])
    for where in ("../sam", "/etc"):
        answer = client.get("/api/see/mask.png", params=asked | {"segmenter": where})
        assert answer.status_code == 422 and "does not lie below" in answer.json()["error"]
