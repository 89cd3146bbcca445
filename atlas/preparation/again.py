"""A clip prepared again with other masks, from its folder alone: what it was made of stands in prepare.json and clip.json."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from atlas.clip.clip import Clip
from atlas.errors import PREPARE, UserError
from atlas.masks.learned.options import DETECTOR, SEGMENTER
from atlas.masks.learned.prompts import joined, parse_prompts, prompts_text
from atlas.masks.motion import AUTO
from atlas.preparation.options import PrepareOptions
from atlas.storage.stamps import read_versioned, write_json
from atlas.system.terminal import say
from atlas.video.source import FOLDER_FPS, has_content

RECORD = "prepare.json"
_VERSION = 1
_LONGEST = 20_000  # letters of an option
_TAKEN: dict[str, tuple[type, ...]] = {
    "masks": (str,),
    "max_side": (int,),
    "start": (int,),
    "frames": (int, type(None)),
    "fps": (int, float, type(None)),
    "cuts": (str,),
    "segmenter": (str,),
    "detector": (str,),
    "salient": (str, type(None)),
    "flow": (str, type(None)),
}
"""Options that are recorded, and the types of their values in JSON."""
_OF_THE_CLIP = ("flow", "max_side", "start", "frames", "fps", "cuts")
_NETWORKS = ("segmenter", "detector", "salient")


def write_record(folder: Path, options: PrepareOptions) -> None:
    """Write the options that a clip is made with into its folder."""
    values = {name: getattr(options, name) for name in _TAKEN}
    for name in (*_NETWORKS, "flow"):  # folders and files, or names of repositories
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve()) if Path(values[name]).exists() else str(values[name])
    write_json(folder / RECORD, {"version": _VERSION} | values)


def options_again(options: PrepareOptions) -> PrepareOptions:
    """The options that prepare the clip again whose folder is named alone, in place of a source, with other masks.

    Points are added to what was pointed out before; any other masks take the place of those that the clip has. Networks that
    are not named stay what they were. UserError where there is no clip, or its source has gone or changed.
    """
    folder = options.source
    if not folder.is_dir() or not (folder / "clip.json").is_file():
        raise UserError(f"{folder} is no clip's folder: name the one to make after the source, {PREPARE} SOURCE CLIP")
    usual = {field.name: field.default for field in fields(options)}
    if given := [name for name in _OF_THE_CLIP if getattr(options, name) != usual[name]]:
        option = f"--{given[0].replace('_', '-')}"
        raise UserError(f"{option} makes another clip: name the source too, {PREPARE} SOURCE {folder}")
    if options.masks == AUTO:
        raise UserError(f"{folder} is prepared: say which masks it is to get (--masks points:...), or name its source first")
    clip = Clip.open(folder)
    source = Path(clip.source.path)
    if not has_content(source, clip.source.sha256):  # the folder may come from anyone, and names any file
        raise UserError(f"{source}, which {folder} was made of, is gone or has changed: run {PREPARE} SOURCE {folder}")
    values = _recorded(clip)
    masks = _with_points(values["masks"], options.masks, clip)
    values |= {name: getattr(options, name) for name in _NETWORKS if getattr(options, name) != usual[name]}
    paths = {name: Path(values[name]) for name in ("salient", "flow") if values[name] is not None}
    return replace(options, **values | paths | {"source": source, "clip": folder, "masks": masks})


def _with_points(earlier: str, masks: str, clip: Clip) -> str:
    """The masks of a clip with what is asked for now."""
    asked, before = parse_prompts(masks), parse_prompts(earlier)
    if asked is None or not all(one.is_points for one in asked):
        return masks
    if before is None:
        say(f"{clip.folder} had other masks ({earlier[:80] or 'unknown'}): the points take their place")
        return masks
    return prompts_text(joined(before, asked, clip.objects))


def _recorded(clip: Clip) -> dict[str, Any]:
    """The options that a clip was made with; what is known of them from clip.json where an older version made it."""
    path = clip.folder / RECORD
    if not path.exists():
        return _derived(clip)
    values = read_versioned(path, _VERSION, "the options that a clip was made with", f"run {PREPARE} with its source again")
    for name, types in _TAKEN.items():
        value = values.get(name)
        if name not in values or type(value) not in types or (isinstance(value, str) and len(value) > _LONGEST):
            raise UserError(f"{path} is damaged ({name}): run {PREPARE} with its source again")
    if values["cuts"] not in ("refuse", "ignore"):
        raise UserError(f"{path} is damaged (cuts): run {PREPARE} with its source again")
    return {name: values[name] for name in _TAKEN}


def _derived(clip: Clip) -> dict[str, Any]:
    rate = clip.source.fps or FOLDER_FPS
    return {
        "masks": "",
        "max_side": max(clip.width, clip.height),
        "start": clip.source.start,
        "frames": clip.frames,
        "fps": clip.fps if clip.fps != rate else None,
        "cuts": "ignore",
        "segmenter": SEGMENTER,
        "detector": DETECTOR,
        "salient": None,
        "flow": None,
    }
