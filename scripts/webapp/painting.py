"""The painter's server side: paint comes in as rectangles of raw bytes, frames go out, and saving makes the edit.

What is painted lives here for as long as the page is open; the page holds the same and sends it again to a server that was
started anew. What was saved is in the clip's folder: the paint as edits/EDIT/painted/LAYER.png, and the edit that the edit
command makes of it.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from atlas.clip.at_work import at_work
from atlas.clip.clip import Clip, checked_name
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.geometry.boxes import bounding_box
from atlas.storage.images import to_8_bit
from atlas.storage.stamps import digest
from scripts.jobs.job import Job
from scripts.webapp.paths import name_of
from scripts.webapp.pictures import check, picture
from scripts.webapp.work import Work

if TYPE_CHECKING:  # torch is loaded with it, when the first atlas is opened: the app is there sooner
    from atlas.painting.keyframe import PaintedKeyframe
    from atlas.painting.layer import PaintedLayer

MOST = 3
"""Atlases that are held open to be painted: 150 MB each for 2000 texels a side. The page opens one that had to go again."""


@dataclass
class _Sheet:
    """An atlas, or a keyframe, that is being painted in a page."""

    layer: PaintedLayer | PaintedKeyframe
    edit: str
    fit: str
    path: Path
    """Where it is saved."""
    opened: str
    """Digest of that file as it was opened or saved last."""
    keyframe: int | None = None
    """Of the edit; None for an atlas."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    job: Job | None = None


class Painting:
    """The atlases that are open, by an id that cannot be guessed."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Sheet] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, folder: Path, fit: str, layer: str, name: str, keyframe: int | None) -> dict[str, Any]:
        """Open a layer of a fit to be painted as edit `name`, or a keyframe of that; returns what the page has to know."""
        clip = Clip.open(folder)
        checked_name(name, "edit")
        sheet = _layer_sheet(clip, fit, layer, name) if keyframe is None else _keyframe_sheet(clip, layer, name, keyframe)
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._open[key] = sheet
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        height, width = sheet.layer.paint.shape[:2]
        size = {"width": width, "height": height, "frame_width": clip.width, "frame_height": clip.height}
        whole = slice(0, height), slice(0, width)
        rows, columns = whole if keyframe is not None else bounding_box(sheet.layer.reference[..., 3]) or whole
        place = {"x": columns.start, "y": rows.start, "w": columns.stop - columns.start, "h": rows.stop - rows.start}
        about = {"id": key, "layer": layer, "edit": name, "frames": clip.frames, "keyframe": keyframe}
        return about | size | {"seen": place, "frame": clip.frames // 2 if keyframe is None else keyframe}

    def sheet(self, key: str) -> _Sheet:
        """The atlas of an id; 404 where it is not open any more."""
        with self._lock:
            sheet = self._open.get(key)
            if sheet is None:
                raise HTTPException(404, "this atlas is not open any more")
            self._open.move_to_end(key)
            return sheet


def _layer_sheet(clip: Clip, fit: str, layer: str, name: str) -> _Sheet:
    from atlas.painting.layer import PaintedLayer, paint_path

    known = (clip.edit_folder(name) / "edit.json").is_file()
    edit = Edit.open_or_new(clip, name, fit)
    painted = PaintedLayer.open(clip, fit, layer, edit if known else None)
    path = paint_path(edit, layer)
    return _Sheet(painted, name, fit, path, _digest(path))


def _keyframe_sheet(clip: Clip, layer: str, name: str, index: int) -> _Sheet:
    from atlas.painting.keyframe import PaintedKeyframe

    edit = Edit.open(clip, name)
    painted = PaintedKeyframe.open(clip, edit, layer, index)
    return _Sheet(painted, name, edit.fit, painted.path, _digest(painted.path), index)


def painting_routes(work: Work) -> APIRouter:
    """The routes of the painter, for the clips below the root of `work`."""
    routes, painting = APIRouter(prefix="/api/paint"), Painting()

    @routes.post("")
    def open_atlas(
        clip: str, layer: str, fit: str = "default", edit: str = "painted", keyframe: int | None = None
    ) -> dict[str, Any]:
        return painting.open(work.clip_folder(clip), fit, layer, edit, keyframe)

    @routes.get("/{key}/atlas.png")
    def atlas(key: str) -> Response:
        return picture(".png", to_8_bit(painting.sheet(key).layer.reference))

    @routes.get("/{key}/paint")
    def paint(key: str) -> Response:
        sheet = painting.sheet(key)
        with sheet.lock:
            return Response(sheet.layer.paint.tobytes(), media_type="application/octet-stream")

    @routes.put("/{key}/paint", status_code=204)
    async def put_paint(key: str, x: int, y: int, w: int, h: int, request: Request) -> None:
        sheet = painting.sheet(key)
        height, width = sheet.layer.paint.shape[:2]
        if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
            raise HTTPException(400, f"the rectangle does not lie in the atlas of {width}x{height}")
        pixels = np.frombuffer(await _body(request, w * h * 4), np.uint8).reshape(h, w, 4)

        def put() -> None:
            with sheet.lock:
                sheet.layer.put(y, x, pixels)

        await run_in_threadpool(put)

    @routes.get("/{key}/frames/{index}.jpg")
    def frame(key: str, index: int, source: bool = False) -> Response:
        sheet = painting.sheet(key)
        check(0 <= index < sheet.layer.clip.frames, f"the clip has no frame {index}")
        if source:
            return picture(".jpg", sheet.layer.clip.frame(index))
        with sheet.lock:
            return picture(".jpg", sheet.layer.frame(index))

    @routes.get("/{key}/texel")
    def texel(key: str, frame: int, x: int, y: int) -> dict[str, Any]:
        layer = painting.sheet(key).layer
        inside = 0 <= frame < layer.clip.frames and 0 <= x < layer.clip.width and 0 <= y < layer.clip.height
        check(inside, "the clip has no such pixel")
        return {"texel": layer.texel(frame, x, y)}

    @routes.post("/{key}/save")
    def save(key: str, edit: str) -> dict[str, Any]:
        sheet = painting.sheet(key)
        return _save(work, sheet, edit) if sheet.keyframe is None else _save_keyframe(sheet)

    @routes.get("/{key}/saved")
    def saved(key: str) -> dict[str, Any]:
        job = painting.sheet(key).job
        if job is None:
            raise HTTPException(400, "nothing was saved yet")
        return work.describe(job)

    return routes


def _save_keyframe(sheet: _Sheet) -> dict[str, Any]:
    """Write a repainted keyframe into its place; there is no job to wait for."""
    clip, path = sheet.layer.clip, sheet.path
    with sheet.lock, at_work(clip.folder, writes=[clip.edit_folder(sheet.edit)]):
        _check_unchanged(sheet)
        _check_painted(sheet)
        sheet.layer.save(path)
        sheet.opened = _digest(path)
    return {"edit": sheet.edit, "state": {"name": "done", "message": f"{path} is repainted"}}


def _save(work: Work, sheet: _Sheet, name: str) -> dict[str, Any]:
    """Write the paint into the edit's folder, and start the command that makes the edit of it; its job as a dict."""
    from atlas.painting.layer import paint_path

    layer, clip = sheet.layer, sheet.layer.clip
    checked_name(name, "edit")
    edit = Edit.open_or_new(clip, name, sheet.fit)
    edit.check_addition(layer.layer)
    path = paint_path(edit, layer.layer)
    with sheet.lock, at_work(clip.folder, writes=[edit.folder]):
        if name == sheet.edit:
            _check_unchanged(sheet)
        if name != sheet.edit and (path.is_file() or layer.layer in edit.layers):
            raise UserError(f"edit {name!r} has {layer.layer} already: choose another name, or open that edit to paint on it")
        _check_painted(sheet)
        layer.save(path)
        sheet.edit, sheet.path, sheet.opened = name, path, _digest(path)
    values = {"name": name, "layer": layer.layer, "fit": sheet.fit, "editor": "atlas", "image": str(path)}
    sheet.job = work.start(name_of(work.root, clip.folder), "edit", values)
    return work.describe(sheet.job) | {"edit": name}


def _check_unchanged(sheet: _Sheet) -> None:
    if _digest(sheet.path) != sheet.opened:
        raise UserError(
            f"{sheet.path} was changed since it was opened here, in another window or program: save under another name, "
            "or open it again"
        )


def _check_painted(sheet: _Sheet) -> None:
    if not sheet.layer.paint[..., 3].any():
        raise UserError("nothing is painted yet: there is nothing to save")


def _digest(path: Path) -> str:
    return digest(path) if path.is_file() else ""


async def _body(request: Request, size: int) -> bytes:
    """The body of a request, of exactly this many bytes; no more than these are read."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > size:
            break
    check(len(data) == size, f"the rectangle takes {size} bytes, not {len(data)}")
    return bytes(data)
