"""From maps and edited atlases to a new video: a gather per frame, streamed, no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from tqdm import tqdm

from atlas.clip import Clip
from atlas.command import CommonOptions
from atlas.cost import measured
from atlas.errors import UserError
from atlas.files import atomic_folder, digest, is_up_to_date, write_image, write_stamp
from atlas.rendering import Rendering
from atlas.sheet import contact_sheet, spread, thumbnail
from atlas.textures import Transfer
from atlas.video import write_video

_VERSION = 2  # raise it when the same input renders differently: what is on disk is then made again
_SHEET_FRAMES = 6


@dataclass(kw_only=True)
class RenderOptions(CommonOptions):
    """Render an edit: edits/EDIT/video.mp4 (or frames/) and sheet.png, source above and result below."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit."""
    mode: Literal["delta", "full"] = "delta"
    """`delta` adds what the edit changed to the frames and leaves all else untouched; `full` renders the layers alone."""
    transfer: Transfer = "local"
    """With delta, what becomes of detail that the fit does not hold: `local` changes it as the edit changed the detail round
    about, `additive` leaves it as it is."""
    format: str = "mp4"
    """`mp4` (the source's frame rate and sound) or `png` (a folder of frames)."""
    size: Literal["fit", "source"] = "fit"
    """Size of the prepared frames, or the full size of the source (the fit is evaluated there once, and kept)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to render."""


def render(options: RenderOptions) -> str:
    """Render an edit of a clip; returns a line that says where the result is.

    UserError where the edit has no aggregated atlas, where an atlas has another size than the fit's, or where the fit has
    changed since the edit was made.
    """
    if options.format not in ("mp4", "png"):
        raise UserError(f"--format {options.format} is not known: choose mp4 or png")
    rendering = Rendering.open(
        options.clip,
        options.edit,
        mode=options.mode,
        transfer=options.transfer,
        size=options.size,
        device=options.device,
        quiet=options.quiet,
    )
    clip, folder = rendering.clip, rendering.edit.folder
    result = folder / ("video.mp4" if options.format == "mp4" else "frames")
    stage, made_from = f"render {options.format}", digest(_VERSION, rendering.made_from())
    if is_up_to_date(folder, made_from, stage) and result.exists():
        return f"{result}: up to date"
    with measured(clip.folder, f"render {options.edit}") as cost:
        sheet = _Sheet(clip.frames)
        progress = tqdm(rendering.frames(), total=clip.frames, desc="render", unit="frame", disable=options.quiet)
        frames = sheet.watch(progress)
        if options.format == "mp4":
            _write_video(result, frames, clip)
        else:
            with atomic_folder(result) as making:
                for index, frame in enumerate(frames):
                    write_image(making / f"{index:05d}.png", frame)
        write_image(folder / "sheet.png", sheet.image())
        rate = clip.frames / rendering.seconds
        cost |= {"frames": clip.frames, "width": rendering.width, "height": rendering.height}
        cost |= {"frames_per_second": round(rate, 1)}
    write_stamp(folder, made_from, stage)
    return f"{result}: {clip.frames} frames of {rendering.width}x{rendering.height}, rendered at {rate:.0f} frames per second"


def _write_video(path: Path, frames: Iterable[np.ndarray], clip: Clip) -> None:
    source = clip.source
    sound = Path(source.path)
    first = source.indices[0] if source.indices else source.start
    write_video(
        path,
        frames,
        clip.fps,
        audio_from=sound if source.audio and sound.is_file() else None,
        start_seconds=first / source.fps if source.fps else 0.0,
        colour=source.colour,
    )


class _Sheet:
    """Keeps small copies of a few frames as they stream by."""

    def __init__(self, frames: int) -> None:
        self.wanted = set(spread(frames, _SHEET_FRAMES))
        self.columns: list[tuple[str, list[np.ndarray]]] = []

    def watch(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
        for index, (source, result) in enumerate(pairs):
            if index in self.wanted:
                self.columns.append((str(index), [thumbnail(source), thumbnail(result)]))
            yield result

    def image(self) -> np.ndarray:
        return contact_sheet(self.columns)
