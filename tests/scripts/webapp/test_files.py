"""Files below the root: in parts, with versions; nothing outside, by no way of writing it, and nothing hidden."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from served import Served

from scripts.webapp.files import url_of, version


def test_a_frame_is_served_and_kept_by_its_version(app: Served) -> None:
    path = app.root / "swan" / "frames" / "00003.png"
    url = url_of(app.root, path)
    assert url == f"/files/swan/frames/00003.png?v={path.stat().st_mtime_ns}"
    answer = app.get(url)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, path.read_bytes(), "image/png")
    assert "immutable" in answer.headers["cache-control"]
    assert app.get("/files/swan/frames/00003.png?v=1").headers["cache-control"] == "no-cache"
    assert app.ask("HEAD", url).status == 200
    assert url_of(app.root, app.root / "nothing.png") is None
    assert version(path) == str(path.stat().st_mtime_ns)


def test_a_part_of_a_file(app: Served) -> None:
    path = app.root / "swan" / "frames" / "00000.png"
    data = path.read_bytes()
    answer = app.get("/files/swan/frames/00000.png", Range="bytes=10-19")
    assert (answer.status, answer.body) == (206, data[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert app.get("/files/swan/frames/00000.png", Range=f"bytes={len(data)}-").status == 416


def test_names_with_odd_characters(app: Served) -> None:
    path = app.root / "ä #%?&+ é.txt"
    path.write_text("here")
    try:
        url = url_of(app.root, path)
        assert url is not None and app.get(url).body == b"here"
    finally:
        path.unlink()


def test_a_page_that_lies_there_runs_nothing(app: Served) -> None:
    """It may have come with somebody's clip, and would be one of our own pages."""
    answer = app.get("/files/page.html")
    policy = answer.headers["content-security-policy"]
    assert answer.status == 200 and policy.startswith("sandbox;") and "default-src 'none'" in policy and "script" not in policy


def test_what_a_browser_cannot_show_is_saved(app: Served) -> None:
    answer = app.get("/files/swan/fits/truth/maps/maps.json?save=true")
    assert answer.headers["content-disposition"].startswith("attachment")
    flow = app.get("/files/swan/flow/forward.npy")
    assert flow.headers["content-type"] == "application/octet-stream"
    assert flow.headers["content-disposition"].startswith("attachment")


OUTSIDE = [
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "swan/../../secret.txt",
    "swan/../swan/clip.json",
    "..%5csecret.txt",
    "..\\secret.txt",
    "%2fetc/passwd",
    "//etc/passwd",
    "%2f%2fetc/passwd",
    "C:%5cWindows%5cwin.ini",
    "C:/Windows/win.ini",
    "link.txt",
    "linked/secret.png",
    "swan/frames/00000.png%00.txt",
    "..%c0%afsecret.txt",
    "....//secret.txt",
    "pipe",
    ".hidden",
    "swan/.lease",
    "swan",
    "",
    "swan/nothing.png",
    "a" * 5000,
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_else_is_served(name: str, app: Served) -> None:
    (app.root / "swan" / ".lease").write_text("secret")
    try:
        for target in (f"/files/{name}", f"/files//{name}", f"/./files/{name}"):
            answer = app.get(target)
            assert answer.status in (400, 403, 404, 422), target
            assert b"secret" not in answer.body.replace(b"secret.txt", b"").replace(b"secret.png", b"")
    finally:
        (app.root / "swan" / ".lease").unlink()


def test_the_absolute_path_of_what_is_inside_is_no_name_either(app: Served) -> None:
    path = app.root / "swan" / "clip.json"
    assert app.get(f"/files/{path}").status in (403, 404)


NAMES = [
    "../outside",
    "..%2Foutside",
    "/etc",
    "linked",
    "swan/../../outside",
    "C:/x",
    "%00",
    ".hidden",
    "",
    ".",
    "swan/.x",
    "a%0Ab",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "route", ["/api/clip?clip=", "/api/jobs?clip=", "/api/jobs/state?id=a&clip=", "/api/jobs/follow?id=a&clip="]
)
def test_no_route_takes_a_clip_from_elsewhere(route: str, name: str, app: Served) -> None:
    answer = app.get(route + name)
    assert answer.status == 422 and b"secret" not in answer.body


@pytest.mark.parametrize(
    "clip", ["../outside", "/etc", "linked", "swan/../../outside", "C:\\x", "\0", ".", "", "-rf", "con", "a\nb"]
)
@pytest.mark.parametrize(
    ("route", "rest"), [("", {"stage": "fit", "values": {}}), ("/again", {"id": "a"}), ("/cancel", {"id": "a"})]
)
def test_no_job_is_started_elsewhere(route: str, rest: dict[str, object], clip: str, app: Served) -> None:
    before = sorted(os.listdir(app.root)), sorted(os.listdir(app.root.parent))
    assert app.post(f"/api/jobs{route}", {"clip": clip} | rest).status == 422
    assert (sorted(os.listdir(app.root)), sorted(os.listdir(app.root.parent))) == before


def test_a_clip_whose_jobs_lead_elsewhere_starts_none(app: Served, tmp_path: Path) -> None:
    folder = app.root / "sly"
    folder.mkdir()
    (folder / "jobs").symlink_to(app.root.parent / "outside")
    try:
        answer = app.post("/api/jobs", {"clip": "sly", "stage": "prepare", "values": {"source": "swan/frames"}})
        assert answer.status == 422 and "link" in answer.json["error"]
        assert sorted(os.listdir(app.root.parent / "outside")) == ["secret.png"]
    finally:
        (folder / "jobs").unlink()
        folder.rmdir()


def test_what_is_a_clip_and_what_is_not(app: Served) -> None:
    """Folders that hold records of jobs are clips to be; others that have a folder of that name, links and uploads are not."""
    for name in ("work/jobs", "uploads/frames/jobs", "a/b/c/d"):
        (app.root / name).mkdir(parents=True)
    record = app.root / "begun" / "jobs" / "20260101-000000-000000-0123456789abcdef"
    record.mkdir(parents=True)
    saved = {"stage": "run", "started": 1, "arguments": ["--masks"]}
    (record / "job.json").write_text(json.dumps(saved))
    (record / "status.json").write_text('{"status": 2, "ended": 2}')
    (record / "log.txt").write_text("error: --masks is odd\n")
    try:
        clips = {one["clip"]: one for one in app.get("/api/clips").json["clips"]}
        assert clips.keys() == {"begun", "swan"}
        assert clips["begun"]["problem"] == "--masks is odd" and clips["begun"]["stages"] == []
        assert clips["swan"]["layers"] == ["foreground", "background"]
        (job,) = app.get("/api/jobs?clip=begun").json
        assert (job["state"]["name"], job["field"], job["values"]) == ("failed", "", {})
    finally:
        for name in ("work", "uploads", "a", "begun"):
            shutil.rmtree(app.root / name)
