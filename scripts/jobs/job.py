"""Job: a stage's own command, run in the background in its own process group, and recorded in the clip's folder.

CLIP/jobs/<id>/ holds job.json (what was started, when, and as which process), log.txt (all that the command says),
progress.jsonl (lines of `atlas.system.progress`) and, once it has ended, status.json. Nothing else is kept anywhere: whoever
reads these files, in whatever process, knows as much as the one who started the job.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import psutil

from atlas.errors import UserError
from atlas.storage.json_text import parsed
from atlas.storage.lease.file import STALE
from atlas.storage.lease.owner import Owner, machine
from atlas.storage.stamps import read_json, write_json
from atlas.system.command import BUSY
from atlas.system.interrupt import INTERRUPTED, SAID
from atlas.system.progress import PROGRESS_FILE
from scripts.jobs import group
from scripts.jobs.process import TAIL, last_line, tail
from scripts.jobs.supervisor import JOB, STATUS, write_status

STAGES = ("prepare", "fit", "edit", "aggregate", "render", "evaluate", "deflicker", "export", "run")
"""Commands that can be jobs: scripts/<stage>.py."""
FOLDER = "jobs"
LOG, PROGRESS = "log.txt", "progress.jsonl"
_SCRIPTS = Path(__file__).resolve().parents[1]
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_CANCELLED = "cancelled"
_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{16}")
_LARGEST = 1 << 20  # bytes of a record
_PATIENCE = 10.0  # seconds that a job has to end when it is interrupted, and once more when it is told to terminate
_STARTING = 10.0  # seconds in which a job that has no process yet may get one

StateName = Literal["running", "done", "failed", "busy", "interrupted", "died"]
_NAMES: dict[int | None, StateName] = {0: "done", 2: "failed", BUSY: "busy", INTERRUPTED: "interrupted"}
"""By the command's exit status; any other one is of a job that died."""


@dataclass(frozen=True)
class JobState:
    """How a job stands."""

    name: StateName
    """done; failed: the user must change something; busy: another command was at work there; interrupted: the same command goes
    on with it; died: an error of the program, a kill, a power cut."""
    status: int | None = None
    """Exit status of the command; negative: the signal that killed it; None: it runs, or nobody saw it end."""
    message: str = ""
    """The last line that the command said: where it failed, the reason, without "error: " before it."""
    progress: dict[str, Any] | None = None
    """The newest line of progress: stage, unit, name, done, total, note, time."""
    ended: float | None = None
    """When it ended, seconds since 1970."""

    @property
    def is_running(self) -> bool:
        """Whether the command is at work."""
        return self.name == "running"


@dataclass(frozen=True)
class Job:
    """A command that was started for a clip."""

    folder: Path
    """CLIP/jobs/<id>"""
    stage: str
    arguments: list[str]
    """What stands behind the command's name."""
    started: float
    """Seconds since 1970."""
    process: Owner | None = field(default=None, compare=False)
    """Its process group's leader; None for a moment at the start."""

    @property
    def id(self) -> str:
        """Sorts by time, and cannot be guessed."""
        return self.folder.name

    @property
    def clip(self) -> Path:
        """The clip's folder."""
        return self.folder.parents[1]

    @classmethod
    def open(cls, folder: Path) -> Job:
        """Open a job's folder; UserError where it is none, or its record is damaged."""
        saved = read_json(folder / JOB, largest=_LARGEST)
        known = isinstance(saved, dict) and saved.get("stage") in STAGES and type(saved.get("started")) in (int, float)
        arguments = saved.get("arguments") if known else None
        if not isinstance(arguments, list) or not all(isinstance(text, str) for text in arguments):
            raise UserError(f"{folder / JOB} is no record of a job: delete {folder}")
        return cls(folder, saved["stage"], arguments, float(saved["started"]), Owner.of(saved.get("process")))

    def state(self) -> JobState:
        """How the job stands now, from its folder alone."""
        ended = self._ended()
        if ended is None and self._is_alive():
            return JobState("running", None, last_line(self.folder / LOG), newest_progress(self.folder / PROGRESS))
        ended = ended or self._ended() or {}  # it may have ended between the two questions
        status = ended.get("status")
        name = _NAMES.get(status, "died")
        if name == "died" and (self.folder / _CANCELLED).exists():  # interrupted before it could say so, or killed in the end
            name = "interrupted"
        message = SAID if name == "interrupted" else last_line(self.folder / LOG)
        return JobState(name, status, message, newest_progress(self.folder / PROGRESS), ended.get("ended"))

    def cancel(self, patience: float = _PATIENCE) -> JobState:
        """Interrupt the job as Ctrl-C does, so that the same command goes on with it later; kill it where that takes too long.

        Returns how it stands then. UserError where it runs on another machine. patience: seconds before each harder way.
        """
        if not self.state().is_running:
            return self.state()
        if self.process is None or self.process.machine != machine():
            where = self.process.host if self.process else "an unknown machine"
            raise UserError(f"job {self.id} runs on {where}: cancel it there")
        (self.folder / _CANCELLED).touch()
        for end in (group.interrupt, group.terminate, group.kill):
            if self._is_ours():
                end(self.process.pid)
            if self.wait(patience):
                break
        if self._ended() is None:
            with contextlib.suppress(OSError):
                write_status(self.folder, INTERRUPTED)
        return self.state()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the job's end; whether it came within so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        while self._ended() is None and self._is_alive():
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def log(self, most: int = TAIL) -> str:
        """The end of what the command said, at most so many bytes."""
        return tail(self.folder / LOG, most).decode(errors="replace")

    def to_dict(self) -> dict[str, Any]:
        """Id, stage, arguments, when it started, and its state, JSON-ready."""
        about = {"id": self.id, "stage": self.stage, "arguments": self.arguments, "started": self.started}
        return about | {"state": asdict(self.state())}

    def _ended(self) -> dict[str, Any] | None:
        """What status.json says; None while there is none."""
        with contextlib.suppress(UserError, OSError):
            saved = read_json(self.folder / STATUS, largest=_LARGEST)
            if isinstance(saved, dict) and type(saved.get("status")) is int and isinstance(saved.get("ended"), int | float):
                return saved
        return None

    def _is_alive(self) -> bool:
        try:
            touched = (self.folder / JOB).stat().st_mtime
        except OSError:  # its folder was deleted
            return False
        if self.process is None:
            return time.time() - self.started < _STARTING
        if self.process.machine == machine():
            return not self.process.is_dead()
        return abs(time.time() - touched) <= STALE

    def _is_ours(self) -> bool:
        """Whether the process is this job's supervisor: a record may come from anyone, and name any process."""
        if self.process is None or self.process.is_dead():
            return False
        with contextlib.suppress(psutil.Error):
            return self.id in " ".join(psutil.Process(self.process.pid).cmdline())
        return False


def start(clip: Path, stage: str, arguments: list[str], folder: Path | None = None) -> Job:
    """Start a stage's command for a clip, whose folder need not exist; returns at once.

    arguments: what stands behind the command's name, the clip's folder included. folder: where relative paths count from;
    default: this process's. UserError for an unknown stage. The job goes on when this process ends, if nobody cancels it.
    """
    if stage not in STAGES:
        raise UserError(f"{stage!r} cannot be a job: choose one of {', '.join(STAGES)}")
    now = datetime.now(timezone.utc)
    own = clip.absolute() / FOLDER / f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(8)}"
    own.mkdir(parents=True)
    job = Job(own, stage, list(arguments), round(now.timestamp(), 3))
    _record(job)
    command = [sys.executable, str(_SCRIPTS / f"{stage}.py"), "--quiet", *arguments]  # bars would fill the log
    with (own / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", str(_SUPERVISOR), str(own), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {PROGRESS_FILE: str(own / PROGRESS), "PYTHONUNBUFFERED": "1"},
            **group.own_group(),
        )
    job = replace(job, process=Owner.of_process(process.pid, f"{stage}.py"))
    _record(job)
    threading.Thread(target=process.wait, name=f"job {job.id}", daemon=True).start()  # no zombie is left
    return job


def jobs_of(clip: Path, most: int = 50) -> list[Job]:
    """The jobs of a clip's folder, newest first, at most so many; what is no record of a job is passed over."""
    try:
        names = sorted(filter(_ID.fullmatch, os.listdir(clip / FOLDER)), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    jobs = []
    for name in names[:most]:
        with contextlib.suppress(UserError, OSError):
            jobs.append(Job.open(clip / FOLDER / name))
    return jobs


def job_of(clip: Path, job_id: str) -> Job:
    """The job of a clip that has this id; UserError where there is none."""
    if not _ID.fullmatch(job_id) or not (clip / FOLDER / job_id / JOB).is_file():
        raise UserError(f"{clip} has no job {job_id[:60]!r}: look at the list of its jobs")
    return Job.open(clip / FOLDER / job_id)


def interrupt(jobs: list[Job], patience: float = _PATIENCE) -> None:
    """Cancel several jobs at once, each with the same patience."""
    threads = [threading.Thread(target=job.cancel, args=(patience,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def newest_progress(path: Path) -> dict[str, Any] | None:
    """The newest whole line of a progress file, None where there is none."""
    for line in reversed(tail(path, TAIL).splitlines()):
        with contextlib.suppress(ValueError):
            value = parsed(line)
            if isinstance(value, dict):
                return value
    return None


def _record(job: Job) -> None:
    about = {"id": job.id, "stage": job.stage, "arguments": job.arguments, "started": job.started}
    write_json(job.folder / JOB, about | {"process": job.process.to_dict() if job.process else None})
