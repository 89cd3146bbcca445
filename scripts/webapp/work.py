"""Work of the app: stages started as jobs from the values of their forms, cancelled, and started again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.clip.clip import is_name
from atlas.errors import BusyError, UserError
from atlas.storage.links import refuse_outward_links
from scripts.jobs.job import FOLDER, Job, interrupt, job_of, jobs_of, start
from scripts.webapp.forms import arguments_of, field_of, parsed, values_of
from scripts.webapp.paths import below, name_of

MOST = 4
"""Jobs of one app that run at once."""


class Work:
    """What one app does below its root. It remembers its own jobs alone, to interrupt them at its end: no state of a clip."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own: list[Job] = []
        self._lock = threading.Lock()

    def clip_folder(self, name: str) -> Path:
        """The folder of a clip by its name below the root, which need not exist; UserError where the name will not do."""
        folder = below(self.root, name)
        if folder == self.root or not all(is_name(part) for part in folder.relative_to(self.root).parts):
            raise UserError(f"{name[:200]!r} cannot name a clip's folder below {self.root}: use letters, digits, '-' and '_'")
        return folder

    def start(self, clip: str, stage: str, values: Mapping[str, Any]) -> Job:
        """Start a stage with the values of its form; FormError says what is wrong with them, BusyError that much is running."""
        folder = self.clip_folder(clip)
        return self._start(folder, stage, arguments_of(stage, values, self.root, folder))

    def again(self, clip: str, job_id: str) -> Job:
        """Start the command of an earlier job again: it goes on where that was interrupted.

        The record may have come with the clip from anyone: what it says is held to the same rules as a form.
        """
        job = self.job(clip, job_id)
        parsed(job.stage, job.arguments)
        return self.start(clip, job.stage, values_of(job.stage, job.arguments))

    def job(self, clip: str, job_id: str) -> Job:
        """A job of a clip; UserError where there is none."""
        return job_of(self.clip_folder(clip), job_id)

    def jobs(self, clip: str, most: int = 20) -> list[dict[str, Any]]:
        """The jobs of a clip, newest first, as dicts."""
        return [self.describe(job) for job in jobs_of(self.clip_folder(clip), most)]

    def describe(self, job: Job) -> dict[str, Any]:
        """A job and how it stands, JSON-ready; where it failed, with the field of its form that the message is about."""
        values = values_of(job.stage, job.arguments)
        about = job.to_dict() | {"clip": name_of(self.root, job.clip), "values": values}
        state = about["state"]
        return about | {"field": field_of(job.stage, state["message"], values) if state["name"] == "failed" else ""}

    def running(self) -> list[Job]:
        """The jobs that this app started and that are at work."""
        with self._lock:
            self._own = [job for job in self._own if job.state().is_running]
            return list(self._own)

    def close(self) -> None:
        """Interrupt the jobs of this app: the same commands go on with them later."""
        interrupt(self.running())

    def _start(self, folder: Path, stage: str, arguments: list[str]) -> Job:
        with self._lock:
            self._own = [job for job in self._own if job.state().is_running]
            if len(self._own) >= MOST:
                raise BusyError(f"{MOST} jobs are running: wait until one has ended, or cancel it")
            if folder.is_dir():
                refuse_outward_links(folder)
            below(self.root, f"{name_of(self.root, folder)}/{FOLDER}")  # that may be a link, too
            job = start(folder, stage, arguments, self.root)
            self._own.append(job)
        return job
