"""Export a fit for compositing programs: STMaps, mattes and atlases, from which they render any painted atlas themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.compositing import FrameMaps
from atlas.maps.maps import Maps, open_maps
from atlas.options.export import ExportOptions
from atlas.recolour.change import recoloured_atlas
from atlas.rendering.edited import EditedLayer, difference
from atlas.rendering.exr import check_exr, write_exr
from atlas.rendering.frames import Rendering, RenderSettings, open_checked_source
from atlas.rendering.full_size import evaluated_from, maps_at_size
from atlas.rendering.output import check_writable, refuse_what_is_needed
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_uint8, to_uint16, write_image
from atlas.storage.lease.lease import writing
from atlas.storage.own.others import others
from atlas.storage.stamps import STAMP, digest, is_up_to_date, read_stamp, write_json
from atlas.system.cost import measured
from atlas.system.device import choose_device
from atlas.system.parallel import in_order
from atlas.system.progress import Progress
from atlas.system.terminal import in_one_line

_VERSION = 2


@holds_clip
def export(options: ExportOptions) -> str:
    """Write the export; returns a line that says where it is. UserError before anything is written."""
    check_exr(options.output)
    clip = Clip.open(options.clip)
    with at_work(clip.folder, reads=[clip.edit_folder(options.edit)] if options.edit else [], wait=options.wait):
        fit = options.fit or (Edit.open(clip, options.edit).fit if options.edit else "default")
        with at_work(clip.folder, reads=[clip.fit_folder(fit)], wait=options.wait):
            return _export(options, clip, fit)


def _export(options: ExportOptions, clip: Clip, fit: str) -> str:
    """Export a fit that is held for it."""
    rendering = _rendering(options)
    maps = open_maps(clip, fit, clip.layers[0])
    output = options.output
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and "export" not in read_stamp(output))):
        raise UserError(f"{output} exists and is no earlier export: choose another --output")
    refuse_what_is_needed(output, clip, clip.folder)
    check_writable(output)
    with writing(output, wait=options.wait):
        return _written(options, clip, maps, rendering)


def _written(options: ExportOptions, clip: Clip, maps: Maps, rendering: Rendering | None) -> str:
    """Write the export into a folder that is held for it."""
    output, edited = options.output, rendering.layers if rendering else {}
    height, width = clip.height, clip.width
    if options.size == "source":
        source = open_checked_source(clip)
        height, width = source.height, source.width
    originals = [maps.atlas_path(layer) for layer in maps.layers]
    edits = rendering.made_from() if rendering else None
    made_from = digest(_VERSION, evaluated_from(maps), *originals, edits, height, width, options.edit)
    if is_up_to_date(output, made_from, "export") and not _missing(output):
        return f"{output}: up to date"
    _refuse_work(output)
    with measured(clip.folder, f"export {maps.folder.name}") as cost, atomic_folder(output) as making:
        sized = maps_at_size(clip, maps, height, width, choose_device(options.device), quiet=options.quiet)
        _write_frames(making, maps, sized, quiet=options.quiet)
        _write_atlases(making, maps, edited)
        (making / "README.txt").write_text(_explained(clip, maps, height, width, edited), encoding="utf-8")
        files = {name: digest(making / name) for name in _names(making)}
        write_json(making / STAMP, {"export": made_from, "files": files, "sizes": _sizes(making)})
        cost |= {"frames": clip.frames, "width": width, "height": height}
    return f"{output}: {clip.frames} frames of {width}x{height}, layers {', '.join(maps.layers)}; see {output / 'README.txt'}"


def _names(folder: Path) -> list[str]:
    """Names of the files in an export, and of what else is in it, but for its stamp."""
    return [name for name in others(folder) if name != STAMP]


def _sizes(folder: Path) -> dict[str, int]:
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def _missing(output: Path) -> bool:
    """Whether a file of an export is gone, or has another length."""
    sizes, there = read_stamp(output).get("sizes"), _sizes(output)
    return not isinstance(sizes, dict) or any(there.get(name) != size for name, size in sizes.items())


def _refuse_work(output: Path) -> None:
    """UserError where an earlier export holds what somebody added or changed: it is replaced as a whole."""
    if not output.exists():
        return
    written = read_stamp(output).get("files")
    written = written if isinstance(written, dict) else {}
    for name in _names(output):
        if name not in written or digest(output / name) != written[name]:
            how = "was changed since it was exported" if name in written else "is none of the files that were exported"
            raise UserError(f"{output / name} {how}: move it away, or choose another --output")


def _rendering(options: ExportOptions) -> Rendering | None:
    """Open the edit that is exported; UserError where it stands on another fit than the one asked for."""
    if options.edit is None:
        return None
    rendering = Rendering.open(options.clip, options.edit, RenderSettings(mode="delta", device="cpu"))
    if options.fit not in (None, rendering.edit.fit):
        raise UserError(f"edit {options.edit!r} stands on the fit {rendering.edit.fit!r}, not {options.fit!r}: leave out --fit")
    return rendering


def _write_frames(folder: Path, maps: Maps, sized: FrameMaps, *, quiet: bool) -> None:
    def one(index: int) -> None:
        name = f"{index:05d}"
        for layer in maps.layers:
            write_exr(folder / layer / "stmap" / f"{name}.exr", stmap(sized.uv(layer, index)))
            write_image(folder / layer / "matte" / f"{name}.png", to_uint8(sized.opacity(layer, index)))
            if sized.has_light(layer):
                write_exr(folder / layer / "light" / f"{name}.exr", sized.light(layer, index))

    for _ in Progress(in_order(one, range(maps.frames)), "export", maps.frames, unit="frame", quiet=quiet):
        pass


def stmap(uv: np.ndarray) -> np.ndarray:  # (H, W, 2) in [-1, 1] -> (H, W, 3) float32
    """Turn uv into an STMap: red = s, green = t in [0, 1] with the origin at the bottom left of the atlas; blue is 0."""
    s, t = (uv[..., 0] + 1) / 2, (1 - uv[..., 1]) / 2
    return np.stack([s, t, np.zeros_like(s)], -1).astype(np.float32)


def _write_atlases(folder: Path, maps: Maps, edited: dict[str, EditedLayer]) -> None:
    for layer in maps.layers:
        atlas = maps.atlas(layer)
        write_image(folder / layer / "atlas.png", to_uint16(atlas))
        if layer in edited:
            recoloured = recoloured_atlas(atlas, edited[layer].change)
            change, _, coverage = difference(edited[layer], recoloured)
            colour = recoloured[..., :3] + coverage[..., None] * change
            write_image(folder / layer / "edited.png", to_uint16(np.dstack([colour, atlas[..., 3]])))


_RECOLOURED = (
    "    The edit is a change of colours too, and edited.png holds it, also where no keyframe saw the layer. What the",
    "    atlas does not hold (grain, glints, blur) keeps its old colour here; render.py changes that as well.",
)


def _explained(clip: Clip, maps: Maps, height: int, width: int, edited: dict[str, EditedLayer]) -> str:
    light = [layer for layer in maps.layers if maps.has_light(layer)]
    recoloured = any(pair.change is not None for pair in edited.values())
    lines = [
        f"Layers of {in_one_line(clip.name)}, front to back: {', '.join(maps.layers)}. "
        f"{clip.frames} frames of {width}x{height}, numbered",
        f"from 00000, {clip.fps:g} a second. In the folder of each layer:",
        "",
        "stmap/*.exr   32-bit float: red = s, green = t, where each pixel lies in the layer's atlas; 0 to 1, origin at the",
        "              bottom left, texel centres at (i + 0.5) / N. Nuke: STMap; Fusion: Texture; After Effects: RE:Map;",
        "              Blender: Map UV. Read it as data (raw, no colour space), filter bilinearly.",
        "matte/*.png   what one sees of the layer (linear, not premultiplied); the layers add up to white.",
        "light/*.exr   gain that turns the atlas's colours into the frame's (absent: 1)." if light else "",
        "atlas.png     the layer as one still image, 16 bit. Paint on a copy of the same size (or any power of two of it).",
        f"edited.png    the same, edited ({', '.join(edited)})." if edited else "",
        "",
        "All arithmetic is on the colour values as stored, without converting them to linear light.",
        "An edit on top of the footage, which stays as it is elsewhere:",
        "    frame + matte * light * (STMap(edited) - STMap(atlas))",
        *_RECOLOURED * bool(recoloured),
        "The layers alone, added up over all of them:",
        "    matte * light * STMap(edited or atlas)",
        "",
        "Size of the atlases: " + json.dumps({layer: maps.atlas_size(layer)[::-1] for layer in maps.layers}),
    ]
    return "\n".join(line for number, line in enumerate(lines) if line or lines[number - 1]) + "\n"
