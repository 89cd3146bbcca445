"""Stages as processes around which a clip comes and goes: how they end, kills, two writers, and the same bytes in the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.sample.files import write_sample
from atlas.sample.scene import Sample
from scripts.plans.store.area import Area
from scripts.plans.store.remote import Remote
from scripts.plans.store.report import Report
from scripts.plans.store.stage import Stage
from tests.scripts.plans.store.test_folder import tree

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent, which Windows does not have")


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def command(store: Path, clip: Path, words: list[str], *more: str) -> list[str]:
    own = ["--store", f"file://{store}", "--key", "clip", "--clip", str(clip), "--report", "task", *more]
    return [sys.executable, "-m", "scripts.plans.store.stage", *own, "--", *words]


def start(store: Path, clip: Path, code: str, *more: str) -> subprocess.Popen[str]:
    words = command(store, clip, ["-c", textwrap.dedent(code)], *more)
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def area(store: Path) -> Area:
    return Area(Remote.open(f"file://{store}").below("clips/clip"), "clip")


def soon(is_so: Callable[[], object], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.002)


def test_how_a_stage_ends_is_passed_on(tmp_path: Path) -> None:
    store, clip = tmp_path / "store", tmp_path / "clip"
    ends = {
        "sys.exit(0)": 0,
        "sys.exit('error: why')": 1,
        "sys.exit(2)": 2,
        "sys.exit(3)": 3,
        "sys.exit(130)": 130,
        "os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
        "os.kill(os.getpid(), signal.SIGSEGV)": -signal.SIGSEGV,
    }
    for number, (end, status) in enumerate(ends.items()):
        code = f"""
            import os, pathlib, signal, sys
            folder = pathlib.Path({str(clip)!r})
            folder.mkdir(exist_ok=True)
            (folder / "{number}").write_text("made")
            print("a result", flush=True)
            {end}
        """
        process = start(store, clip, code, "--make", str(number))
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (status, "a result\n"), err
        report = Report.read(Remote.open(f"file://{store}"), "task")
        assert report is not None and report.status == status or status == 3
        assert report.result == ("a result\n" if status == 0 else report.result) and report.made != ""
        # What it left is in the store whatever it ended with: the next try goes on with it, wherever that is.
        assert str(number) in area(store).newest().manifest.files
    assert report.said == "" and area(store).remote.names("claims") == []


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    missing = start(tmp_path / "store", tmp_path / "clip", "", "--file", "/nowhere/film.mp4")
    assert (
        missing.communicate(timeout=60)[1].startswith("error: /nowhere/film.mp4 is not in the store")
        and missing.returncode == 2
    )
    unmounted = start(tmp_path / "disk", tmp_path / "clip", "")
    assert "mount its disk" in unmounted.communicate(timeout=60)[1] and unmounted.returncode == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "clips").touch()
    broken = start(tmp_path / "other", tmp_path / "clip", "")
    err = broken.communicate(timeout=60)[1]
    assert broken.returncode == 1 and err.startswith("error: ") and err.count("\n") == 1
    (tmp_path / "file").touch()
    nowhere = start(tmp_path / "store", tmp_path / "file" / "below" / "clip", "")
    err = nowhere.communicate(timeout=60)[1]
    assert nowhere.returncode == 1 and err.startswith("error: ") and "below" in err and err.count("\n") == 1
    told = Report.read(Remote.open(f"file://{tmp_path / 'store'}"), "task")
    assert told is not None and told.said == err
    secret = command(tmp_path, tmp_path / "clip", ["-c", ""], "--store", "sftp://me:hunter2@host/x")
    refused = subprocess.run(secret, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "hunter2" not in refused.stderr and "password" in refused.stderr


def test_what_stands_for_an_interrupt_on_windows_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has reached the stage, as Ctrl-C has, and Windows' `send_signal` knows it by another number."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    stage = Stage(Remote.open(f"file://{tmp_path}"), "clip", tmp_path / "clip", [], [], [])
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        stage._process = process
        stage.told(signal.SIGUSR1, None)
        stage.told(signal.SIGTERM, None)
        assert process.wait(60) == -signal.SIGTERM


WORKING = """
    import pathlib, signal, sys, time
    folder = pathlib.Path({clip!r})
    folder.mkdir(exist_ok=True)
    try:
        (folder / "begun").touch()
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        (folder / "tidied").touch()
        print("interrupted", file=sys.stderr)
        sys.exit(130)
"""


def test_two_writers_and_signals(tmp_path: Path) -> None:
    store, one, two = tmp_path / "store", tmp_path / "one" / "clip", tmp_path / "two" / "clip"
    first = start(store, one, WORKING.format(clip=str(one)), "--expires", "2")
    soon((one / "begun").exists, first)
    second = start(store, two, WORKING.format(clip=str(two)))
    err = second.communicate(timeout=60)[1]
    assert second.returncode == 3 and err.startswith("busy: ") and "is at work there" in err and not two.exists()

    os.killpg(first.pid, signal.SIGINT)
    assert first.communicate(timeout=60)[1] == "interrupted\n" and first.returncode == 130
    assert area(store).newest().manifest.files.keys() == {"begun", "tidied"}

    first = start(store, one, WORKING.format(clip=str(one)), "--expires", "2")
    soon(lambda: area(store).remote.names("claims"), first)
    soon(lambda: 'at_work": true' in (one.parent / ".clip.store.json").read_text(), first)
    time.sleep(0.3)
    first.terminate()  # the process in front alone: it passes that on
    first.communicate(timeout=60)
    assert first.returncode == -signal.SIGTERM and area(store).remote.names("claims") == []

    # A machine that is gone: its claim is followed.
    first = start(store, one, WORKING.format(clip=str(one)), "--expires", "2")
    soon(lambda: area(store).remote.names("claims"), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    (claim,) = (store / "clips" / "clip" / "claims").iterdir()
    said = json.loads(claim.read_text())
    claim.write_text(json.dumps(said | {"owner": said["owner"] | {"machine": "elsewhere"}}))
    code = f"import pathlib; pathlib.Path({str(two)!r}, 'third').touch()"
    third = start(store, two, code, "--expires", "2")
    if third.wait(60) == 3:  # by its clock it was not over yet
        time.sleep(2)
        third = start(store, two, code, "--expires", "2")
    assert third.wait(60) == 0 and area(store).newest().manifest.files.keys() == {"begun", "tidied", "third"}


def test_killed_while_it_takes_back(tmp_path: Path) -> None:
    """Whole versions alone are in the store; the same again ends with the bytes of a run that was left alone."""
    store, clip, other = tmp_path / "store", tmp_path / "a" / "clip", tmp_path / "b" / "clip"
    code = """
        import pathlib
        folder = pathlib.Path({clip!r})
        folder.mkdir(exist_ok=True)
        (folder / "clip").write_text("{version}")
        for number in range({count}):
            (folder / str(number)).write_text("{version} " + str(number) * 20000)
    """
    first = start(store, clip, code.format(clip=str(clip), version="old", count=3))
    assert first.wait(60) == 0
    objects = store / "clips" / "clip" / "objects"
    second = start(store, clip, code.format(clip=str(clip), version="new", count=400))
    soon(lambda: len(list(objects.iterdir())) > 30, second)
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()
    version = area(store).newest()
    assert version.number == 1 and 30 < len(list(objects.iterdir())) < 404
    elsewhere = start(store, other, "")
    assert elsewhere.wait(60) == 0
    assert tree(other)["clip"] == "old" and len(tree(other)) == 4
    again = start(store, clip, code.format(clip=str(clip), version="new", count=400))
    assert again.wait(60) == 0
    assert start(store, other, "").wait(60) == 0
    assert tree(other) == tree(clip) and len(tree(clip)) == 401
    assert not [path for path in tmp_path.rglob("*-making-*")]


def test_two_machines_alternately_end_with_the_bytes_of_one(sample: Sample, tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    write_sample(sample, footage)
    one, two, alone = (tmp_path / name / "clip" for name in ("one", "two", "alone"))

    def stages(clip: Path) -> list[list[str]]:
        edit = ["--edit", "hue", "--quiet"]
        return [
            [
                "scripts/prepare.py",
                str(footage / "frames"),
                str(clip),
                "--masks",
                str(footage / "masks"),
                "--frames",
                "6",
                "--quiet",
            ],
            ["scripts/fit.py", str(clip), "--preset", "preview", "--quiet"],
            ["scripts/edit.py", str(clip), "--name", "hue", "--layer", "foreground", "--editor", "filter", "--filter", "hue"]
            + ["--keyframes", "auto:2", "--quiet"],
            ["scripts/aggregate.py", str(clip), *edit, "--method", "mean"],
            ["scripts/render.py", str(clip), *edit],
        ]

    code = "import runpy, sys\nfor words in " + repr(stages(alone)) + ":\n    sys.argv = words\n    try:\n"
    code += (
        "        runpy.run_path(words[0], run_name='__main__')\n    except SystemExit as end:\n        assert not end.code\n"
    )
    calm = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert calm.returncode == 0, calm.stderr
    for number, (here, there) in enumerate(zip(stages(one), stages(two), strict=True)):
        clip, words = ((one, here), (two, there))[number % 2]
        done = subprocess.run(command(tmp_path / "store", clip, words), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    last = subprocess.run(command(tmp_path / "store", two, ["-c", ""]), cwd=ROOT, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    (alone / "cost.json").unlink()
    found = [{name: (clip / name).read_bytes() for name in _names(clip)} for clip in (one, two, alone)]
    assert found[0].keys() == found[1].keys() == found[2].keys()
    assert not [name for name in found[2] if not found[0][name] == found[1][name] == found[2][name]]
    shutil.rmtree(tmp_path / "store")


def _names(clip: Path) -> list[str]:
    names = [path.relative_to(clip).as_posix() for path in clip.rglob("*") if path.is_file()]
    return sorted(name for name in names if name != "cost.json")
