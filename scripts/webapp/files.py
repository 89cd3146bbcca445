"""Files below the root as answers to requests: in parts, so that films can be wound, and under addresses with a version."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from atlas.errors import UserError
from scripts.webapp.paths import below, name_of

_KINDS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".json": "application/json",
    ".html": "text/html",
    ".txt": "text/plain",
    ".csv": "text/plain",
    ".md": "text/plain",
}
"""What a browser shows, by its suffix; all else is there to be saved."""
_ALONE = "sandbox; default-src 'none'; img-src data: blob:; media-src data: blob:; style-src 'unsafe-inline'"
"""A report is a page that may come with a clip from anyone: it runs nothing and asks for nothing."""
_YEAR = "private, max-age=31536000, immutable"


def file_routes(root: Path) -> APIRouter:
    """The route of files: /files/NAME, with ?v=VERSION kept by the browser for as long as the file stays as it is."""
    routes = APIRouter()

    @routes.get("/files/{name:path}")
    @routes.head("/files/{name:path}")
    def file(name: str, v: str = "", save: bool = False) -> FileResponse:
        path = _shown_file(root, name)
        kind = _KINDS.get(path.suffix.lower())
        headers = {"Cache-Control": _YEAR if v and v == version(path) else "no-cache"}
        if path.suffix.lower() == ".html":
            headers["Content-Security-Policy"] = _ALONE
        way = "inline" if kind and not save else "attachment"
        kind = kind or "application/octet-stream"
        return FileResponse(path, media_type=kind, headers=headers, filename=path.name, content_disposition_type=way)

    return routes


def version(path: Path) -> str:
    """What changes with a file: when it was written, in nanoseconds."""
    return str(path.stat().st_mtime_ns)


def url_of(root: Path, path: Path) -> str | None:
    """The address of a file below the root, None where there is none."""
    try:
        return f"/files/{quote(name_of(root, path))}?v={version(path)}"
    except (OSError, ValueError):
        return None


def _shown_file(root: Path, name: str) -> Path:
    """The file of a name. Hidden ones, leases and half-made files among them, are nobody's to see."""
    try:
        path = below(root, name)
        regular = stat.S_ISREG(path.stat().st_mode)
    except UserError as problem:
        raise HTTPException(403, str(problem)) from None
    except OSError:
        raise HTTPException(404, f"{name} is not there") from None
    if not regular or any(part.startswith(".") for part in path.relative_to(root).parts):
        raise HTTPException(404, f"{name} is not there")
    return path
