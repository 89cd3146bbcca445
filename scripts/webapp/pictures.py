"""Pictures that pages show beside the stages: frames of a source or a clip, a mask at once, a filter on one frame."""

from __future__ import annotations

import functools
import inspect
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.errors import UserError
from atlas.maps.maps import open_maps
from atlas.masks.box import BoxMasks, masks_from_box
from atlas.masks.learned.options import SEGMENTER, NetworkOptions
from atlas.masks.learned.prompted import PromptedMasks
from atlas.masks.source import open_mask_source
from atlas.preparation.stage import PrepareOptions
from atlas.storage.images import over_black, to_8_bit, to_float, to_uint8
from atlas.storage.stamps import digest, is_up_to_date, write_stamp
from atlas.system.device import choose_device
from atlas.video.source import FrameSource, fit_image, fitted_size, open_source
from atlas.video.writing import write_video
from edit.editors.filters import FILTERS, parse_filter
from scripts.webapp.paths import below, refuse_outside

if TYPE_CHECKING:  # torch is loaded with it
    from atlas.masks.learned.segmenter import Segmenter

_SIDE = 1280
"""Pixels of the longer side of what is shown of a source."""
_TINT = (43, 170, 160)
_AHEAD = 16  # frames that are read to find what moves in a box
_CRF = 20
_WHOLE_COLOUR = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _WHOLE_COLOUR]  # thin paint keeps its colour


def picture_routes(root: Path) -> APIRouter:
    """The routes of pictures, of what lies below the root."""
    place = functools.partial(below, root)
    routes = APIRouter(prefix="/api/see")

    @routes.get("/source")
    def about_source(path: str) -> dict[str, Any]:
        source = _opened(place(path))
        size = {"width": source.width, "height": source.height}
        return {"frames": source.frames, "fps": float(source.fps), **size, "remarks": source.remarks()}

    @routes.get("/source/{index}.jpg")
    def source_frame(path: str, index: int) -> Response:
        source = _opened(place(path))
        check(0 <= index < source.frames, f"{path} has no frame {index}")
        return picture(".jpg", _shown(_frame(source, index)))

    @routes.get("/mask.png")
    def mask(path: str, masks: str, start: int = 0, frame: int = 0, segmenter: str = SEGMENTER) -> Response:
        for text in (masks, segmenter):
            refuse_outside(root, text)
        folder = root / segmenter
        networks = NetworkOptions(segmenter=str(folder) if folder.is_dir() else segmenter, offline=True)
        return picture(".png", _tinted(seen_mask(_opened(place(path)), start, frame, masks, networks)))

    @routes.get("/frames/{index}.jpg")
    def clip_frame(clip: str, index: int) -> Response:
        return picture(".jpg", _clip_frame(Clip.open(place(clip)), index))

    @routes.get("/filter/{index}.jpg")
    def filtered(clip: str, index: int, layer: str, filter: str, fit: str = "default") -> Response:  # noqa: A002
        opened = Clip.open(place(clip))
        frame = to_float(_clip_frame(opened, index))
        opacity = np.ones(frame.shape[:2], np.float32)
        if layer != WHOLE_FRAME:
            opacity = open_maps(opened, fit, layer).opacity(layer, index)
        name, options = parse_filter(filter)
        edited = np.clip(FILTERS[name](frame, opacity, **options), 0, 1)
        return picture(".jpg", to_uint8(frame + (edited - frame) * opacity[..., None]))

    @routes.get("/filters")
    def filters(clip: str) -> dict[str, Any]:
        known = [
            {"name": name, "about": (inspect.getdoc(function) or "").split("\n\n")[0], "options": parse_filter(name)[1]}
            for name, function in FILTERS.items()
        ]
        return {"frames": Clip.open(place(clip)).frames, "filters": known}

    @routes.get("/source.mp4")
    def source_video(clip: str) -> FileResponse:
        # Its address stays where the clip is made anew: the browser asks each time whether the film is the same.
        film = source_film(Clip.open(place(clip)))
        return FileResponse(film, media_type="video/mp4", headers={"Cache-Control": "no-cache"})

    return routes


def picture(suffix: str, image: np.ndarray) -> Response:  # (H, W, 3 or 4) uint8
    """An image as the answer to a request: JPEG for looking at, PNG to the pixel."""
    if suffix == ".jpg":
        image = over_black(image)
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    how = _JPEG if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, order), how)
    kind = "image/jpeg" if suffix == ".jpg" else "image/png"
    return Response(data.tobytes(), media_type=kind, headers={"Cache-Control": "no-store"})


def check(right: bool, otherwise: str) -> None:
    """Answer a request with status 400 where something of it is not right."""
    if not right:
        raise HTTPException(400, otherwise)


def seen_mask(source: FrameSource, start: int, frame: int, masks: str, networks: NetworkOptions) -> np.ndarray:  # (h, w) uint8
    """Find what --masks points out in one frame, counted from the first one taken, as the prepare command begins with it.

    A box is answered in the first frame, points in theirs; what else --masks may be needs all frames. UserError with the
    command's line where it will not do.
    """
    check(0 <= start < source.frames and 0 <= frame < source.frames - start, "there is no such frame")
    source_of_masks = open_mask_source(masks, source, list(range(start, source.frames)), networks)
    size = fitted_size(source.width, source.height, PrepareOptions.max_side)
    if isinstance(source_of_masks, BoxMasks):
        read = source.read(range(start, min(source.frames, start + _AHEAD)))
        frames = [fit_image(to_8_bit(one), size) for one in read]
        box = source_of_masks.box.scaled(size[0] / source.width, size[1] / source.height)
        return next(masks_from_box(lambda index: frames[index], len(frames), box, quiet=True))
    if isinstance(source_of_masks, PromptedMasks) and not any(one.words for one in source_of_masks.asked):
        return _answered(source_of_masks, fit_image(_frame(source, start + frame), size), frame)
    raise UserError(f"--masks {masks} shows when the clip is made: what a box or points give can be seen before")


def _answered(prompted: PromptedMasks, image: np.ndarray, frame: int) -> np.ndarray:  # (h, w, 3) -> (h, w) uint8
    """What SAM 2 takes for all objects that are pointed out in a frame."""
    from atlas.masks.learned.follow import soft_mask

    scale = image.shape[1] / prompted.source.width, image.shape[0] / prompted.source.height
    prompts = [prompt.scaled(*scale) for one in prompted.asked for at, prompt in one.prompts if at == frame]
    result = np.zeros(image.shape[:2], np.uint8)
    for logits in _segmenter(prompted.segmenter).answers(image, prompts, [None] * len(prompts)):
        result = np.maximum(result, soft_mask(logits, image.shape[1::-1]))
    return result


@lru_cache(maxsize=1)
def _segmenter(folder: Path) -> Segmenter:
    from atlas.masks.learned.segmenter import Segmenter

    return Segmenter(folder, choose_device("auto"))


def source_film(clip: Clip) -> Path:
    """A film of the clip's frames, made when it is first asked for: what plays beside a rendered edit."""
    path = clip.folder / "preview" / "source.mp4"
    made_from = digest(clip.identity(), _CRF)
    if not (path.is_file() and is_up_to_date(path.parent, made_from)):
        write_video(path, (clip.frame(i) for i in range(clip.frames)), clip.fps, colour=clip.source.colour, crf=_CRF)
        write_stamp(path.parent, made_from)
    return path


def _opened(path: Path) -> FrameSource:
    """A source, opened once for as long as it stays as it is."""
    stat = path.stat() if path.exists() else None
    return _open_once(path, stat.st_mtime_ns if stat else 0, stat.st_size if stat else 0)


@lru_cache(maxsize=8)
def _open_once(path: Path, time: int, size: int) -> FrameSource:
    return open_source(path)


def _frame(source: FrameSource, index: int) -> np.ndarray:
    return to_8_bit(next(iter(source.read([index]))))


def _clip_frame(clip: Clip, index: int) -> np.ndarray:
    check(0 <= index < clip.frames, f"{clip.folder} has no frame {index}")
    return clip.frame(index)


def _shown(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return image if max(height, width) <= _SIDE else fit_image(image, fitted_size(width, height, _SIDE))


def _tinted(mask: np.ndarray) -> np.ndarray:  # (h, w) -> (h, w, 4)
    """A mask as a tint to lay over the frame, its outline drawn."""
    tint = np.zeros((*mask.shape, 4), np.uint8)
    tint[...] = (*_TINT, 0)
    tint[..., 3] = (mask * 0.45).astype(np.uint8)
    inside = (mask > 127).astype(np.uint8)
    edge = cv2.dilate(inside, np.ones((3, 3), np.uint8)) != cv2.erode(inside, np.ones((3, 3), np.uint8))
    tint[edge] = (255, 255, 255, 255)
    return tint
