"""Jobs: real commands in their own process groups, followed and ended by their folders alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.lease.lease import writing
from atlas.storage.lease.owner import Owner
from atlas.storage.stamps import contents
from atlas.system.interrupt import SAID
from scripts.jobs.job import Job, interrupt, job_of, jobs_of, start

ROOT = Path(__file__).resolve().parents[3]


def _fit(clip: Path, name: str) -> Job:
    return start(clip, "fit", [str(clip), "--name", name, "--preset", "preview", "--iterations", "40"])


def _until_it_works(job: Job) -> None:
    """Until a job has made progress: at once after the start there is nothing to be cancelled in the middle of."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        progress = job.state().progress
        if progress is not None and progress["name"].startswith("fit") and progress["done"] >= 3:
            return
        assert job.state().is_running, job.log()
        time.sleep(0.02)
    raise AssertionError(f"no progress: {job.log()}")


def test_a_job_is_done(fresh_clip: Clip) -> None:
    output = fresh_clip.folder.parent / "out"
    job = start(fresh_clip.folder, "export", [str(fresh_clip.folder), "--fit", "truth", "--output", str(output)])
    assert job.wait(120)
    state = job.state()
    assert (state.name, state.status) == ("done", 0), job.log()
    assert str(output) in state.message and output.is_dir()
    assert state.progress is not None and (state.progress["stage"], state.progress["done"]) == ("export", fresh_clip.frames)


def test_what_the_user_must_change_is_the_jobs_message(fresh_clip: Clip) -> None:
    job = start(fresh_clip.folder, "render", [str(fresh_clip.folder), "--edit", "nothing"])
    assert job.wait(120)
    state = job.state()
    assert (state.name, state.status) == ("failed", 2)
    assert "nothing" in state.message and not state.message.startswith("error")
    assert f"error: {state.message}" in job.log() and state.ended is not None


def test_a_job_beside_another_command_is_busy(fresh_clip: Clip) -> None:
    with writing(fresh_clip.fit_folder("here")):
        job = _fit(fresh_clip.folder, "here")
        assert job.wait(120)
    assert (job.state().name, job.state().status) == ("busy", 3)
    assert "is at work there" in job.state().message


def test_cancelled_in_the_middle_it_goes_on_to_the_same_bytes(fresh_clip: Clip) -> None:
    undisturbed = _fit(fresh_clip.folder, "undisturbed")
    assert undisturbed.wait(300) and undisturbed.state().name == "done", undisturbed.log()
    job = _fit(fresh_clip.folder, "cancelled")
    _until_it_works(job)
    state = job.cancel()
    assert (state.name, state.status, state.message) == ("interrupted", 130, SAID)
    assert not (fresh_clip.fit_folder("cancelled") / "metrics.json").exists()
    again = start(fresh_clip.folder, job.stage, job.arguments)
    assert again.wait(300) and again.state().name == "done", again.log()
    whole, resumed = (fresh_clip.fit_folder(name) for name in ("undisturbed", "cancelled"))
    assert (whole / "checkpoint.safetensors").read_bytes() == (resumed / "checkpoint.safetensors").read_bytes()
    assert contents(whole / "layers") == contents(resumed / "layers")
    assert contents(whole / "maps") == contents(resumed / "maps")
    assert [one.id for one in jobs_of(fresh_clip.folder)] == [again.id, job.id, undisturbed.id]


def test_a_job_outlives_the_program_that_started_it(fresh_clip: Clip) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from scripts.jobs.job import start
print(start(Path({str(fresh_clip.folder)!r}), "fit", [{str(fresh_clip.folder)!r}, "--preset", "preview"]).id)
"""
    job_id = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (job,) = jobs_of(fresh_clip.folder)
    assert job.id == job_id and job == job_of(fresh_clip.folder, job_id)
    assert job.state().is_running
    assert job.cancel().name == "interrupted"


def test_one_that_nobody_saw_end_died(fresh_clip: Clip) -> None:
    job = _fit(fresh_clip.folder, "killed")
    assert job.process is not None
    os.killpg(job.process.pid, signal.SIGKILL)
    assert job.wait(20)
    assert (job.state().name, job.state().status) == ("died", None)


def test_one_whose_command_was_killed_died_of_the_signal(fresh_clip: Clip) -> None:
    job = _fit(fresh_clip.folder, "killed")
    _until_it_works(job)
    assert job.process is not None
    children = subprocess.run(["pgrep", "-P", str(job.process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert job.wait(20)
    assert (job.state().name, job.state().status) == ("died", -signal.SIGKILL)


def test_cancelled_at_its_first_moment(fresh_clip: Clip) -> None:
    jobs = [_fit(fresh_clip.folder, f"fit-{number}") for number in range(2)]
    interrupt(jobs)
    assert {job.state().name for job in jobs} == {"interrupted"}


def test_a_record_that_names_a_strangers_process_ends_none(fresh_clip: Clip) -> None:
    """A clip from somebody else may hold records; none of them can have a process of ours ended."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        job = start(fresh_clip.folder, "render", [str(fresh_clip.folder), "--edit", "nothing"])
        assert job.wait(60)
        (job.folder / "status.json").unlink()
        record = json.loads((job.folder / "job.json").read_text())
        assert job.process is not None
        record["process"] = Owner.of_process(bystander.pid, "render.py").to_dict()
        (job.folder / "job.json").write_text(json.dumps(record))
        forged = Job.open(job.folder)
        assert forged.state().is_running
        forged.cancel(patience=0.1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("stage", ["demo", "../evil", "jobs/job", "", "test"])
def test_only_stages_are_jobs(stage: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be a job"):
        start(tmp_path / "clip", stage, [])
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize("job_id", ["..", "../..", "nothing", "20260101-000000-000000-0123456789abcdef"])
def test_no_such_job(job_id: str, fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match="has no job"):
        job_of(fresh_clip.folder, job_id)


def test_damaged_records_are_passed_over(fresh_clip: Clip) -> None:
    for number, text in enumerate(["", "[]", "{", '{"stage": "rm", "started": 1, "arguments": []}', '{"stage": "fit"}']):
        folder = fresh_clip.folder / "jobs" / f"20260101-000000-00000{number}-0123456789abcdef"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(text)
    assert jobs_of(fresh_clip.folder) == []


def test_a_clip_is_prepared_by_a_job_that_lies_in_its_folder(fresh_clip: Clip, tmp_path: Path) -> None:
    clip, masks = tmp_path / "new", str(fresh_clip.folder / "masks")
    refused = start(clip, "prepare", [str(tmp_path / "missing.mp4"), str(clip)])
    assert refused.wait(60) and refused.state().name == "failed"
    assert "missing.mp4" in refused.state().message
    job = start(clip, "prepare", [str(fresh_clip.folder / "frames"), str(clip), "--masks", masks])
    assert job.wait(120) and job.state().name == "done", job.log()
    assert Clip.open(clip).frames == fresh_clip.frames
    assert [one.id for one in jobs_of(clip)] == [job.id, refused.id]
