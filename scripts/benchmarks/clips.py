"""Clips to measure on: a prepared clip again, or a shorter or longer one of its frames, without preparing anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.flow import WAYS
from atlas.clip.writer import ClipWriter
from atlas.errors import UserError
from atlas.storage.arrays import GrowingArray, StoredArray
from atlas.storage.links import link_or_copy
from atlas.storage.stamps import read_json, write_json
from atlas.system.progress import Progress


def there_and_back(frames: int, wanted: int) -> list[int]:
    """`wanted` frame numbers of a clip of `frames` frames: forwards, backwards, and so on; no frame twice in a row."""
    period = max(2 * (frames - 1), 1)
    return [min(i % period, period - i % period) for i in range(wanted)]


def middles(frames: int, count: int) -> list[int]:
    """Spread `count` keyframes over a clip of `frames` frames: the middle frames of equal parts of it."""
    return [(2 * part + 1) * frames // (2 * count) for part in range(count)]


def derived_clip(clip: Clip, folder: Path, frames: int, *, flow: bool = True, quiet: bool = True) -> Clip:
    """A clip in the new `folder` that shows `clip` for `frames` frames, forwards and backwards in turns.

    Frames and masks are hard links, copies where the disk takes none. Flow is copied where the length differs: backwards,
    what was backward flow is forward flow; flow=False leaves it out, as rendering reads none. Fits and edits stay behind
    (`derived_fit`). UserError where the disk is too full.
    """
    order = there_and_back(clip.frames, frames)
    same = frames == clip.frames
    folder.mkdir(parents=True)
    _check_space(folder, clip, frames, linked=same or not flow)
    indices = [clip.source.indices[i] for i in order] if clip.source.indices else []
    derived = replace(clip, folder=folder, frames=frames, source=replace(clip.source, indices=indices))
    writer = ClipWriter(derived, quiet)
    writer.link_pictures(clip, order)
    if same and flow:
        for way in WAYS:
            for name in (way, f"{way}_valid"):
                link_or_copy(clip.folder / "flow" / f"{name}.npy", folder / "flow" / f"{name}.npy")
    elif flow:
        _write_flow(clip, derived, order, quiet=quiet)
    writer.finish()
    return Clip.open(folder)


def derived_fit(fit: Path, folder: Path, frames: int) -> None:
    """The finished fit in `fit`, or a sample's truth, in the new `folder` for the first `frames` frames of a `derived_clip`.

    A fit of the same length is all links. At another length maps are copied, and what makes maps of other sizes stays behind.
    """
    described = read_json(fit / "maps" / "maps.json")
    same = frames == described["frames"]
    for path in sorted(path for path in fit.rglob("*") if path.is_file()):
        inside = path.relative_to(fit)
        if inside.parts[0] == "resume":
            continue
        if same or inside.parts[0] == "layers" or inside.as_posix() in ("config.json", "stamp.json"):
            link_or_copy(path, folder / inside)
        elif inside.parts[0] == "maps" and path.suffix == ".npy":
            rows = StoredArray(path)
            with GrowingArray(folder / inside, rows.dtype, (frames, *rows.shape[1:])) as array:
                for index in there_and_back(described["frames"], frames):
                    array.append(rows[index])
    if not same:
        write_json(folder / "maps" / "maps.json", described | {"frames": frames})


def _write_flow(clip: Clip, derived: Clip, order: list[int], *, quiet: bool) -> None:
    shape = (derived.frames - 1, clip.height, clip.width)
    steps = list(zip(order, order[1:], strict=False))
    for way, other in (WAYS, WAYS[::-1]):
        for read, ending, dtype, channels in (
            (clip.flow, "", np.float16, (2,)),
            (clip.flow_validity, "_valid", np.uint8, ()),
        ):
            along, against = read(way), read(other)
            with GrowingArray(derived.folder / "flow" / f"{way}{ending}.npy", dtype, (*shape, *channels)) as array:
                for here, there in Progress(steps, f"flow {way}{ending}", unit="frame", quiet=quiet, leave=False):
                    array.append(along[here] if there > here else against[there])


def _check_space(folder: Path, clip: Clip, frames: int, *, linked: bool) -> None:
    """What a fit leaves beside the flow: frames, depths and maps."""
    bytes_per_pixel = 3 + len(clip.objects) + 5 * len(clip.layers) + (0 if linked else 10)
    needed = frames * clip.width * clip.height * bytes_per_pixel
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB left, fits of {frames} frames need about {needed / 1e9:.1f} GB: free some space "
            "or choose another --output"
        )
