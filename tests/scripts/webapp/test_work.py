"""Stages as jobs, from a page's requests: started, followed, cancelled, gone on with, and seen by an app that came later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

from atlas.clip.clip import Clip
from atlas.storage.lease.lease import writing
from atlas.storage.stamps import contents
from scripts.webapp.work import MOST

ROOT = Path(__file__).resolve().parents[3]
QUICK = {"preset": "preview", "iterations": 40}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("work") / "root") as app:
        yield app


@pytest.fixture
def app(served: Served, sample_clip: Clip) -> Iterator[Served]:
    """The app over a root with a copy of the sample clip."""
    shutil.copytree(sample_clip.folder, served.root / "swan")
    yield served
    for job in served.get("/api/jobs?clip=swan").json:
        served.post("/api/jobs/cancel", {"clip": "swan", "id": job["id"]})
    for path in served.root.iterdir():
        shutil.rmtree(path)


def _start(app: Served, stage: str, values: dict[str, Any], clip: str = "swan") -> dict[str, Any]:
    answer = app.post("/api/jobs", {"clip": clip, "stage": stage, "values": values})
    assert answer.status == 201, answer.body
    job: dict[str, Any] = answer.json
    return job


def _state(app: Served, job: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = app.get(f"/api/jobs/state?clip={job['clip']}&id={job['id']}").json
    return state


def _until(app: Served, job: dict[str, Any], good: Callable[[dict[str, Any]], bool], seconds: float = 180) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if good(now := _state(app, job)):
            return now
        time.sleep(0.05)
    raise AssertionError(app.get(f"/api/jobs/log?clip={job['clip']}&id={job['id']}").body.decode())


def _ended(job: dict[str, Any]) -> bool:
    return job["state"]["name"] != "running"


def _fits(job: dict[str, Any]) -> bool:
    progress = job["state"]["progress"]
    return progress is not None and progress["name"].startswith("fit") and progress["done"] >= 3


def test_a_clip_from_its_frames_to_its_film(app: Served) -> None:
    """prepare, fit, edit, aggregate and render, each with the values of its form; then the clip shows them all."""
    shutil.move(app.root / "swan", app.root / "source")
    job = _start(app, "prepare", {"source": "source/frames", "masks": "source/masks"}, "lake/swan")
    assert job["clip"] == "lake/swan" and job["values"] == {
        "source": str(app.root / "source" / "frames"),
        "masks": "source/masks",
    }
    assert _until(app, job, _ended)["state"]["name"] == "done"
    for stage, values in [
        ("fit", QUICK),
        (
            "edit",
            {"name": "gold", "layer": "foreground", "editor": "filter", "filter": "recolour:color=gold", "keyframes": "0,6"},
        ),
        ("aggregate", {"edit": "gold", "method": "mean"}),
        ("render", {"edit": "gold"}),
    ]:
        job = _start(app, stage, values, "lake/swan")
        assert _until(app, job, _ended)["state"]["name"] == "done", stage
    clip = app.get("/api/clip?clip=lake/swan").json
    assert clip["stages"] == ["prepare", "fit", "edit", "aggregate", "render"]
    assert [one["stage"] for one in clip["jobs"]] == ["render", "aggregate", "edit", "fit", "prepare"]
    (edit,) = clip["edits"]
    assert list(edit["layers"]["foreground"]["keyframes"]) == ["0", "6"]
    for url in (edit["films"]["video.mp4"], edit["sheet"], clip["fits"][0]["layers"]["foreground"], clip["fits"][0]["preview"]):
        answer = app.get(url)
        assert answer.status == 200 and len(answer.body) > 100 and "immutable" in answer.headers["cache-control"]
    listed = {one["clip"]: one for one in app.get("/api/clips").json["clips"]}
    assert listed.keys() == {"lake/swan", "source"}
    assert listed["lake/swan"]["frames"] == 12 and listed["lake/swan"]["finished"] == ["default"]
    assert listed["lake/swan"]["running"] is None
    shutil.move(app.root / "source", app.root / "swan")


def test_cancelled_in_the_middle_it_goes_on_to_the_same_bytes(app: Served) -> None:
    whole = _start(app, "fit", QUICK | {"name": "whole"})
    assert _until(app, whole, _ended)["state"]["name"] == "done"
    job = _start(app, "fit", QUICK | {"name": "cancelled"})
    now = _until(app, job, _fits)
    assert now["state"]["progress"]["stage"] == "fit" and now["state"]["progress"]["total"] > 3
    assert app.get("/api/clips").json["clips"][0]["running"]["id"] == job["id"]
    cancelled = app.post("/api/jobs/cancel", {"clip": "swan", "id": job["id"]}).json
    assert (cancelled["state"]["name"], cancelled["state"]["status"]) == ("interrupted", 130)
    again = app.post("/api/jobs/again", {"clip": "swan", "id": job["id"]})
    assert again.status == 201 and again.json["arguments"] == job["arguments"]
    assert _until(app, again.json, _ended)["state"]["name"] == "done"
    fits = app.root / "swan" / "fits"
    assert (fits / "whole" / "checkpoint.safetensors").read_bytes() == (
        fits / "cancelled" / "checkpoint.safetensors"
    ).read_bytes()
    assert contents(fits / "whole" / "layers") == contents(fits / "cancelled" / "layers")


def test_a_job_is_followed_to_its_end(app: Served) -> None:
    job = _start(app, "render", {"edit": "nothing"})
    connection = HTTPConnection("127.0.0.1", app.port, timeout=120)
    connection.request("GET", f"/api/jobs/follow?clip=swan&id={job['id']}")
    events = [line for line in connection.getresponse().read().decode().splitlines() if line]
    states = [json.loads(event.removeprefix("data: "))["state"]["name"] for event in events]
    assert states[-1] == "failed" and set(states[:-1]) <= {"running"}


def test_an_error_stands_beside_its_field(app: Served) -> None:
    wrong = app.post("/api/jobs", {"clip": "swan", "stage": "fit", "values": {"seconds": "soon", "preset": "fast"}})
    assert wrong.status == 422 and wrong.json["errors"].keys() == {"seconds", "preset"}
    on = {"name": "a", "layer": "foreground", "editor": "filter", "fit": "truth"}
    for stage, values, field in [
        ("render", {"edit": "nothing"}, "edit"),
        ("edit", on | {"layer": "nothing", "filter": "recolour:color=gold"}, "layer"),
        ("edit", on | {"filter": "magic"}, "filter"),
        (
            "edit",
            on | {"keyframes": "0,99", "filter": "sketch"},
            "keyframes",
        ),
        ("fit", {"iterations": -1}, "iterations"),
    ]:
        now = _until(app, _start(app, stage, values), _ended)
        assert (now["state"]["name"], now["field"]) == ("failed", field), now["state"]["message"]
        assert now["state"]["message"] and not now["state"]["message"].startswith("error")
    job = _start(app, "prepare", {"source": "film.mp4"}, "new")
    now = _until(app, job, _ended)
    assert now["field"] == "source" and "film.mp4 is missing" in now["state"]["message"]
    assert (
        next(one for one in app.get("/api/clips").json["clips"] if one["clip"] == "new")["problem"] == now["state"]["message"]
    )


def test_two_pages_do_not_fight(app: Served) -> None:
    with writing(app.root / "swan" / "fits" / "default"):
        now = _until(app, _start(app, "fit", QUICK), _ended)
    assert (now["state"]["name"], now["state"]["status"]) == ("busy", 3) and "is at work there" in now["state"]["message"]


def test_only_so_many_jobs_at_once(app: Served) -> None:
    jobs = [_start(app, "fit", {"name": f"fit-{number}"}) for number in range(MOST)]
    answer = app.post("/api/jobs", {"clip": "swan", "stage": "fit", "values": {}})
    assert answer.status == 409 and "jobs are running" in answer.json["error"]
    for job in jobs:
        app.post("/api/jobs/cancel", {"clip": "swan", "id": job["id"]})
    job = _start(app, "render", {"edit": "nothing"})
    assert _until(app, job, _ended)["state"]["name"] == "failed"


def test_a_record_from_a_stranger_starts_nothing_outside(app: Served, tmp_path: Path) -> None:
    job = _start(app, "export", {"output": "out", "fit": "truth"})
    _until(app, job, _ended)
    record = app.root / "swan" / "jobs" / job["id"] / "job.json"
    saved = json.loads(record.read_text())
    for arguments in (
        [str(app.root / "swan"), "--output", str(tmp_path / "out")],
        [str(app.root / "swan"), "--output", "../out"],
        [str(app.root / "swan"), "--bogus"],
        ["--help"],
    ):
        record.write_text(json.dumps(saved | {"arguments": arguments}))
        assert app.post("/api/jobs/again", {"clip": "swan", "id": job["id"]}).status == 422, arguments
    # It names another clip: what is started is for the one that it lies in.
    record.write_text(json.dumps(saved | {"arguments": [str(tmp_path), "--output", str(app.root / "out")]}))
    again = app.post("/api/jobs/again", {"clip": "swan", "id": job["id"]}).json
    assert again["arguments"][0] == str(app.root / "swan")
    _until(app, again, _ended)


def _app(root: Path) -> tuple[subprocess.Popen[str], Served]:
    """scripts/app.py as a user starts it, once it has said where it is."""
    command = [sys.executable, str(ROOT / "scripts" / "app.py"), str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("open http://127.0.0.1:"), line + process.stdout.read()
    return process, Served(root, int(line.rstrip("/\n").rpartition(":")[2]))


def test_a_job_outlives_an_app_that_is_killed_and_ends_with_one_that_is_stopped(sample_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(sample_clip.folder, tmp_path / "root" / "swan")
    process, app = _app(tmp_path / "root")
    job = _start(app, "fit", {"name": "long", "preset": "standard"})
    _until(app, job, _fits)
    process.send_signal(signal.SIGKILL)
    process.wait()
    later, app = _app(tmp_path / "root")  # another process, which knows only what the clip's folder says
    try:
        assert app.get("/api/clip?clip=swan").json["jobs"][0]["id"] == job["id"]
        assert _state(app, job)["state"]["name"] == "running"
        assert app.post("/api/jobs/cancel", {"clip": "swan", "id": job["id"]}).json["state"]["name"] == "interrupted"
        again = app.post("/api/jobs/again", {"clip": "swan", "id": job["id"]}).json
        _until(app, again, _fits)
    finally:
        later.send_signal(signal.SIGINT)
    assert later.wait(60) == 0
    status = json.loads((tmp_path / "root" / "swan" / "jobs" / again["id"] / "status.json").read_text())
    assert status["status"] == 130


def test_the_terminal_is_closed(sample_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(sample_clip.folder, tmp_path / "root" / "swan")
    process, app = _app(tmp_path / "root")
    job = _start(app, "fit", {"preset": "standard"})
    _until(app, job, _fits)
    process.send_signal(getattr(signal, "SIGHUP", signal.SIGTERM))
    process.wait(60)
    assert os.path.exists(app.root / "swan" / "jobs" / job["id"] / "status.json")
