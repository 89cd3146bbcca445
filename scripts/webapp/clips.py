"""Clips below the root, as the app shows them: what there is, what was done, and under which addresses it is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from atlas.clip.clip import Clip, is_name
from atlas.clip.edits import Edit, edit_names
from atlas.errors import UserError
from atlas.maps.maps import fit_names
from atlas.storage.stamps import read_json
from scripts.jobs.job import FOLDER as JOBS
from scripts.jobs.job import jobs_of
from scripts.webapp.files import url_of
from scripts.webapp.paths import name_of

_DEPTH = 4  # folders below the root in which clips and sources are looked for
_MOST = 2000  # folders that are looked at
_VIDEOS = {".mp4", ".webm", ".mov"}


def clips_of(root: Path) -> list[dict[str, Any]]:
    """Every clip below the root in short, by name: a clip that is being made, and one that cannot be opened, too."""
    return [_in_short(root, folder) for folder in clip_folders(root)]


def describe_clip(root: Path, folder: Path) -> dict[str, Any]:
    """A clip with its frames, masks, fits and edits, with addresses of all that can be seen; UserError where it is none."""
    clip = Clip.open(folder)
    fits = [_fit(root, path.parent) for path in sorted(folder.glob("fits/*/config.json")) if is_name(path.parent.name)]
    return _about(root, clip) | {
        "fits": fits,
        "edits": [_edit(root, clip, name) for name in edit_names(clip)],
        "masks": url_of(root, folder / "masks.png"),
        "frame": [url_of(root, clip.frame_path(index)) for index in range(clip.frames)],
        "mask": {layer: [url_of(root, clip.mask_path(layer, i)) for i in range(clip.frames)] for layer in clip.objects},
        "source": {"path": clip.source.path, "width": clip.source.width, "height": clip.source.height},
    }


def clip_folders(root: Path) -> list[Path]:
    """Folders of all clips below the root, and of clips to be: those that hold records of jobs alone."""
    return sorted(path for path, _, is_clip in folders_below(root) if is_clip and path != root)


def folders_below(root: Path) -> Iterator[tuple[Path, list[str], bool]]:
    """The root and the folders below it: path, names of the files there, whether it is a clip's. No links, nothing in clips."""
    for place, folders, files in islice(os.walk(root), _MOST):
        path = Path(place)
        is_clip = "clip.json" in files or (JOBS in folders and bool(jobs_of(path, most=1)))
        yield path, sorted(files), is_clip
        deeper = not is_clip and len(path.relative_to(root).parts) < _DEPTH
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if deeper else []


def saved_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds, {} where it is not there or damaged."""
    try:
        saved = read_json(path)
    except (UserError, OSError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _in_short(root: Path, folder: Path) -> dict[str, Any]:
    running = next((job for job in jobs_of(folder, most=5) if job.state().is_running), None)
    about = {"clip": name_of(root, folder), "running": running.to_dict() if running else None}
    try:
        return _about(root, Clip.open(folder)) | about
    except (UserError, OSError) as problem:
        latest = next(iter(jobs_of(folder, most=1)), None)
        failed = latest.state().message if latest is not None and not (folder / "clip.json").exists() else ""
        return about | {"problem": failed or str(problem), "stages": []}


def _about(root: Path, clip: Clip) -> dict[str, Any]:
    folder = clip.folder
    fits = fit_names(clip)
    size = {"frames": clip.frames, "width": clip.width, "height": clip.height, "fps": clip.fps}
    done = {
        "prepare": True,
        "fit": bool(fits),
        "edit": any(folder.glob("edits/*/edit.json")),
        "aggregate": any(folder.glob("edits/*/atlas/*.png")),
        "render": any(_films(path) for path in folder.glob("edits/*")),
    }
    return {
        "clip": name_of(root, folder),
        "name": clip.name,
        **size,
        "layers": clip.layers,
        "objects": clip.objects,
        "stages": [stage for stage, there in done.items() if there],
        "finished": fits,
        "edited": edit_names(clip),
        "picture": url_of(root, clip.frame_path(clip.frames // 2)),
    }


def _fit(root: Path, folder: Path) -> dict[str, Any]:
    layers = {path.parent.name: url_of(root, path) for path in sorted(folder.glob("layers/*/atlas.png"))}
    metrics = saved_json(folder / "metrics.json")
    return {
        "name": folder.name,
        "finished": (folder / "maps" / "maps.json").is_file(),
        "config": saved_json(folder / "config.json"),
        "layers": layers,
        "preview": url_of(root, folder / "preview.mp4"),
        "quality": url_of(root, folder / "quality.png"),
        "reconstruction": metrics.get("reconstruction"),
        "weaknesses": metrics.get("weaknesses", []),
    }


def _edit(root: Path, clip: Clip, name: str) -> dict[str, Any]:
    try:
        edit = Edit.open(clip, name)
    except UserError as problem:
        return {"name": name, "problem": str(problem)}
    layers = {
        layer: {
            "asked": asked,
            "target": edit.request(layer).target,
            "keyframes": {index: url_of(root, path) for index, path in edit.keyframes(layer).items()},
            "atlas": url_of(root, edit.atlas_path(layer)),
            "keep": url_of(root, edit.keep_path(layer)),
        }
        for layer, asked in edit.layers.items()
    }
    films = {path.name: url_of(root, path) for path in _films(edit.folder)}
    return {
        "name": name,
        "fit": edit.fit,
        "layers": layers,
        "films": films,
        "sheet": url_of(root, edit.folder / "sheet.png"),
        "report": url_of(root, edit.folder / "report.html"),
        "metrics": saved_json(edit.folder / "metrics.json"),
    }


def _films(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _VIDEOS and not path.name.startswith("."))
