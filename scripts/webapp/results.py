"""Results of an edit as its folder holds them: the film that is played, and what can be taken home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from scripts.webapp.files import url_of
from scripts.webapp.paths import below

_PLAYED = ("video.mp4", "video.webm")
"""Films that browsers play, the first that is there."""
_SHOWN = {"sheet.png": "sheet", "report.html": "report"}


def result_routes(root: Path) -> APIRouter:
    """The route of results, of clips below the root."""
    routes = APIRouter(prefix="/api/results")

    @routes.get("")
    def results(clip: str, edit: str) -> dict[str, Any]:
        opened = Clip.open(below(root, clip))
        return {"fps": opened.fps, **results_of(root, Edit.open(opened, edit))}

    return routes


def results_of(root: Path, edit: Edit) -> dict[str, Any]:
    """film: the address of what is played, None while there is none; files: name, address, and whether it is to be saved."""
    film = film_of(edit)
    paths = [*sorted(edit.folder.glob("video.*")), *(edit.folder / name for name in _SHOWN)]
    files = [
        {"name": _SHOWN.get(path.name, path.name), "url": url_of(root, path), "save": path.suffix != ".html"}
        for path in paths
        if path.is_file()
    ]
    return {"film": url_of(root, film) if film else None, "files": files}


def film_of(edit: Edit) -> Path | None:
    """The film of an edit that browsers play; None while there is none."""
    return next((path for name in _PLAYED if (path := edit.folder / name).is_file()), None)
