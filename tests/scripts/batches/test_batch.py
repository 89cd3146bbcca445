"""Batches of real stages on the smallest sample: what fails, what is killed and what is interrupted, and the same again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.sample.files import write_sample
from atlas.sample.scene import Sample
from atlas.storage.stamps import digest
from atlas.system.interrupt import SAID
from atlas.video.reading import probe
from scripts.batches.batch import BatchOptions, StatusOptions, batch, status
from scripts.plans.plan import Plan, Task
from tests.edit import tiny

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "batch.py"
DEFAULTS = "defaults: {preset: preview, method: mean, weights: none, keyframes: 'auto:2'}\n"


@pytest.fixture(scope="module")
def footage(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as footage, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("batch") / "the footage"
    write_sample(sample, folder)
    return folder


def job_file(folder: Path, footage: Path, edits: str) -> Path:
    path = folder / "jobs.yaml"
    source = json.dumps({"name": "walk", "source": str(footage / "frames"), "masks": str(footage / "masks")})
    path.write_text(f"{DEFAULTS}clips: [{source}]\nedits: {edits}\n")
    return path


def starts(folder: Path) -> int:
    return (folder / "state.jsonl").read_text().count('"started"')


def test_the_command_and_its_page_load_no_torch() -> None:
    # It takes seconds, in which a batch that was interrupted, or has nothing to do, would only wait.
    code = "import sys, scripts.batches.batch, scripts.batches.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parents[1]).returncode == 0


def test_what_fails_is_told_and_the_others_go_on(
    footage: Path, fresh_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "jobs"
    prepared = os.path.relpath(fresh_clip.folder, tmp_path)
    path = tmp_path / "jobs.yaml"
    path.write_text(
        f"{DEFAULTS}clips: [{{clip: {prepared}, name: '<b>walk', fitted: truth}}]\n"
        "edits: [{name: hue, filter: hue}, {name: wrong, filter: nosuch}]"
    )
    options = BatchOptions(jobs=path, reach=(fresh_clip.folder,), quiet=True)
    with pytest.raises(UserError, match="1 of 2 rows are not done"):
        batch(options)
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[:8] == ["<b>walk", "hue", "-", "-", "done", "done", "done", "done"]
    assert said[2].split()[:9] == ["<b>walk", "wrong", "-", "-", "2", "waiting", "waiting", "waiting", "2"]
    assert "no filter 'nosuch'" in "\n".join(said[3:])
    page = (folder / "index.html").read_text()
    assert "no filter &#x27;nosuch&#x27;" in page and "&lt;b&gt;walk" in page and "<b>" not in page
    for name in ("sheet.png", "video.mp4"):  # links lead from the page to the files
        link = Path(os.path.relpath(fresh_clip.edit_folder("hue") / name, folder)).as_posix()
        assert f'src="{link}"' in page
    assert "warp error" in page and "reconstruction PSNR" in page

    path.write_text(path.read_text().replace("nosuch", "invert"))
    before = starts(folder)
    told = batch(options)
    assert starts(folder) == before + 4 and "index.html" in told  # what was done is not done again
    batch(options)
    assert starts(folder) == before + 4
    rows: Any = status(StatusOptions(folder=folder, json=True))
    assert [row["status"] for row in rows["rows"]] == ["done", "done"]
    assert str(status(StatusOptions(folder=folder))).count("done") == 10

    # Somebody repaints: the stages after it are looked at again, and no others.
    keyframe = next(fresh_clip.edit_folder("hue").glob("keyframes/foreground/*.png"))
    keyframe.write_bytes(keyframe.read_bytes())
    batch(options)
    assert starts(folder) == before + 8


@pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have")
def test_interrupted_and_killed_it_ends_with_the_same_bytes(footage: Path, tmp_path: Path) -> None:
    path = job_file(tmp_path, footage, "[]")
    command = [sys.executable, str(SCRIPT), str(path), "--quiet", "--reach", str(footage), "--output"]
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)

    disturbed = [*command, str(tmp_path / "disturbed")]
    process = subprocess.Popen(disturbed, stderr=subprocess.PIPE, text=True)
    inside = _in_a_fit(process, tmp_path / "disturbed")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[1].strip().splitlines()[-1] == SAID and process.returncode == 130
    assert not psutil.pid_exists(inside.pid)

    process = subprocess.Popen(disturbed, stdout=subprocess.PIPE, text=True)
    _in_a_fit(process, tmp_path / "disturbed").kill()
    told = process.communicate(timeout=600)[0]
    assert process.returncode == 0 and "done" in told
    assert "killed by SIGKILL" in (tmp_path / "disturbed" / "state.jsonl").read_text()
    calm, other = (tmp_path / name / "clips" / "walk" for name in ("calm", "disturbed"))
    for part in ("layers", "maps", "checkpoint.safetensors", "preview.mp4"):
        assert digest(calm / "fits" / "default" / part) == digest(other / "fits" / "default" / part), part


def _in_a_fit(process: subprocess.Popen[str], folder: Path) -> psutil.Process:
    """The process of a batch's fit, once it is at work."""

    def found() -> psutil.Process | None:
        for child in psutil.Process(process.pid).children():
            if "scripts.plans.worker.serve" in child.cmdline():
                written = [file for file in folder.glob("progress/*.jsonl") if '"fit"' in file.read_text()]
                return child if written else None
        return None

    return _soon(found, process)


def _soon(found: Callable[[], psutil.Process | None], process: subprocess.Popen[str]) -> psutil.Process:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert process.poll() is None
        try:
            if (child := found()) is not None:
                return child
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    raise AssertionError("no fit was begun")


def test_two_entries_of_v2vbench(footage: Path, tmp_path: Path) -> None:
    model, controlnet = tiny.save_pipeline(tmp_path / "sd"), tiny.save_controlnet(tmp_path / "controlnet")
    (tmp_path / "videos").mkdir()
    for name in ("walk", "stroll"):
        (tmp_path / "videos" / name).symlink_to(footage / "frames")
    (tmp_path / "v2v.yaml").write_text(
        "data:\n- {video_id: walk, edit: [{prompt: a cat}, {prompt: a dog}]}\n- {video_id: stroll, edit: [{prompt: a tree}]}\n"
    )
    usual = {"preset": "preview", "method": "mean", "weights": "none", "keyframes": "auto:2", "steps": 2, "offline": True}
    usual |= {
        "masks": str(footage / "masks"),
        "model": str(model),
        "controlnet": [str(controlnet)],
        "resolution": 64,
        "frames": 6,
    }
    (tmp_path / "usual.yaml").write_text(json.dumps(usual))
    batch(BatchOptions(jobs=tmp_path / "v2v.yaml", defaults=tmp_path / "usual.yaml", quiet=True))
    films = [tmp_path / "v2v" / "clips" / f"{name}/video.mp4" for name in ("walk/edits/0", "walk/edits/1", "stroll/edits/0")]
    assert [probe(film).frames for film in films] == [6, 6, 6]
    rows: Any = status(StatusOptions(folder=tmp_path / "v2v", json=True))
    stages = [task["stage"] for row in rows["rows"] for task in row["tasks"]]
    assert stages.count("fit") == 3 and len({task["id"] for row in rows["rows"] for task in row["tasks"]}) == 2 * 2 + 3 * 4


def test_wrong_options_leave_nothing(footage: Path, tmp_path: Path) -> None:
    path = job_file(tmp_path, footage, "[{name: a, filter: hue}]")
    with pytest.raises(UserError, match="--workers 0"):
        batch(BatchOptions(jobs=path, workers=0))
    with pytest.raises(UserError, match="--videos is for files of V2VBench"):
        batch(BatchOptions(jobs=path, videos=tmp_path, reach=(footage,)))
    with pytest.raises(UserError, match="holds other things"):
        batch(BatchOptions(jobs=path, output=tmp_path, reach=(footage,)))
    with pytest.raises(UserError, match="is a file"):
        batch(BatchOptions(jobs=path, output=path, reach=(footage,)))
    with pytest.raises(UserError, match=r"holds no plan\.json"):
        status(StatusOptions(folder=tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["jobs.yaml"]


def test_a_plan_of_anyone_is_refused_in_one_line(tmp_path: Path) -> None:
    plan = Plan()
    task = plan.add(Task.of("prepare", [], tmp_path, "prepare"))
    for number in range(3000):  # each made from the one before
        task = plan.add(Task.of("fit", [str(number)], tmp_path, "fit", needs=[task]))
    for rows in ([{"clip": "a", "edit": "b", "tasks": [task.id]}], [{"clip": "a", "edit": "b", "tasks": ["x"]}], [{}], [3]):
        plan.write(tmp_path, {"rows": rows})
        with pytest.raises(UserError, match=r"plan\.json is damaged"):
            status(StatusOptions(folder=tmp_path))
