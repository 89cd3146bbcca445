"""Job files of V2VBench: videos by their id, and prompts.

    data:
      - video_id: hike
        edit:
          - prompt: a man hikes through a desert

Its own evaluation calls edited films by the number of their prompt, counted from 0: edits are named so here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.clip.clip import checked_name
from atlas.errors import UserError
from atlas.system.terminal import in_one_line
from scripts.batches.jobfile import Job, Reader, StageOptions
from scripts.plans.chain import FIT, ClipEntry

_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif", ".avi")


def v2vbench_jobs(data: dict[str, Any], reader: Reader, videos: Path, defaults: StageOptions) -> list[Job]:
    """The jobs of a V2VBench file; what it says beside ids and prompts is left alone. UserError names file and entry.

    videos: folder of VIDEO_ID.mp4 and the like, or of folders of frames.
    """
    entries = data["data"]
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{reader.file}, data: here stands a list of videos, each with video_id and edit")
    jobs: dict[str, Job] = {}
    for number, entry in enumerate(entries, 1):
        where = f"{reader.file}, video {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("video_id"), str | int):
            raise UserError(f"{where}: it has no video_id")
        try:
            name = checked_name(str(entry["video_id"]), "clip")
        except UserError as problem:
            raise UserError(f"{where}: {problem}") from None
        where += f" ({in_one_line(name)})"
        if name.casefold() in jobs:
            raise UserError(f"{where}: this video_id stands twice: join their edits")
        prompts = entry.get("edit")
        if not isinstance(prompts, list) or not prompts or not all(isinstance(one, dict) for one in prompts):
            raise UserError(f"{where}: edit is no list of prompts")
        edits = []
        for place, one in enumerate(prompts):
            if not isinstance(one.get("prompt"), str) or not one["prompt"].strip():
                raise UserError(f"{where}, edit {place}: it has no prompt")
            edits.append(reader.edit_entry(str(place), {"prompt": one["prompt"]}, defaults, f"{where}, edit {place}"))
        clip = ClipEntry(name, reader.clips_folder / name, _video(videos, name, where), defaults.get("prepare", {}))
        jobs[name.casefold()] = Job(clip, FIT, False, defaults.get("fit", {}), tuple(edits))
    return list(jobs.values())


def _video(folder: Path, name: str, where: str) -> Path:
    """The video of this id; UserError where there is none, or more than one."""
    found = [path for path in (folder / name, *(folder / f"{name}{suffix}" for suffix in _SUFFIXES)) if path.exists()]
    if len(found) != 1:
        what = "several files are" if found else f"no {name}.mp4 and no folder {name} is"
        raise UserError(f"{where}: {what} in {folder}: say with --videos where the videos lie")
    return found[0]
