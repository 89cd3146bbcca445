"""All stages in order, doing only what is not up to date: scripts/run.py SOURCE CLIP --editor filter --filter recolour ..."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atlas.system.interrupt import end_at_once

if __name__ == "__main__":
    end_at_once()  # on Ctrl-C, while the rest is loading

import tyro

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip, checked_name
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.frames import check_light
from atlas.rendering.output import check_format, choose_output
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.images import read_image
from atlas.system.command import CommonOptions, run_command
from atlas.system.terminal import say
from edit.diffusion.sources import Sources
from edit.editors.filters import FilterEditor
from edit.editors.images import ImagesEditor
from edit.editors.prompt_atlas import control_image
from edit.prompted import check_prompts, check_target
from edit.questions import answer
from edit.request.keyframes import DEFAULT, automatic_count, checked, listed
from edit.request.options import EditOptions
from edit.stage import EDITORS, check_editor, edit

Stage = TypeVar("Stage", bound=CommonOptions)


@dataclass(kw_only=True)
class RunOptions(RenderOptions, AggregateOptions, EditOptions, FitOptions, PrepareOptions):
    """From a source to an edited video: prepare, fit, edit, aggregate, render. The options are those of the stages."""

    # Only what differs from the stages' own options stands here.
    clip: tyro.conf.Positional[Path]
    """Folder of the clip to make, or to go on with."""
    name: str | None = None  # type: ignore[assignment]
    """Name of the edit. Default: the filter's or the editor's."""
    layer: str | None = None  # type: ignore[assignment]
    """Layer to edit. Default: the first."""
    edit: tyro.conf.Suppress[str] = ""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # type: ignore[assignment]
    """Where to compute; auto takes a GPU where there is one."""
    seed: int = 0
    """Seed of every stage that draws random numbers."""
    steps: int = EditOptions.steps
    """With --editor diffusion: denoising steps."""


def run(options: RunOptions) -> str:
    """Run all stages; each skips what is up to date. Returns where the results are.

    What can be wrong with the edit is found out before the fit, which takes longest. For that the weights are loaded where
    there is no fit yet.
    """
    name = checked_name(options.name or default_name(options), "edit")
    sources = _check_request(options)
    if sources is not None and not (options.clip / "fits" / options.fit / "maps" / "maps.json").is_file():
        sources.check([(options.prompt or "").strip(), *options.keyframe_prompts().values()])
        sources.make_room()
    _timed("prepare", prepare, _part(PrepareOptions, options))
    clip = Clip.open(options.clip)
    layer = options.layer or clip.layers[0]
    clip.check_layer(layer)
    _check_keyframes(options, clip, sources)
    _timed("fit", fit, _part(FitOptions, options, name=options.fit))
    _timed("edit", edit, _part(EditOptions, options, name=name, layer=layer))
    # --steps is the edit's; the network that merges keyframes takes its own default.
    _timed("aggregate", aggregate, _part(AggregateOptions, options, edit=name, steps=AggregateOptions.steps))
    _timed("render", render, _part(RenderOptions, options, edit=name))
    folder = clip.edit_folder(name)
    result = choose_output(clip, name, options.format, alpha=options.alpha, path=options.output).path
    return "\n".join(
        [
            f"result: {result}",
            f"source above, result below: {folder / 'sheet.png'}",
            f"the layer's atlas, to paint on: {clip.fit_folder(options.fit) / 'layers' / layer / 'atlas.png'}",
        ]
    )


def default_name(options: RunOptions) -> str:
    """The filter's name, or the editor's."""
    return (options.filter or options.editor).partition(":")[0].strip() or options.editor


def _check_request(options: RunOptions) -> Sources | None:
    """What can be said before there is a clip; what a prompt needs is found (and fetched) now."""
    check_editor(options)
    checked_name(options.fit, "fit")
    sources, given = None, getattr(options, EDITORS[options.editor])
    if options.editor == "filter":
        FilterEditor(given)
    elif options.editor == "diffusion":
        sources = Sources(options)
    elif not given.exists():
        raise UserError(f"{given} is missing: check --{EDITORS[options.editor]}")
    automatic_count(options.keyframes or DEFAULT)
    if options.keep is not None:
        read_image(options.keep)
    check_format(options.format, alpha=options.alpha, crf=options.crf)
    check_light(options.mode, options.light)
    return sources


def _check_keyframes(options: RunOptions, clip: Clip, sources: Sources | None) -> None:
    """What can be said of keyframes as soon as the clip's length and size are known."""
    numbers = None
    if options.keyframes and automatic_count(options.keyframes) is None:
        numbers = listed(options.keyframes, clip.frames)
    if sources is not None:
        layer = options.layer or clip.layers[0]
        check_target(options, layer)
        if options.target(layer) == "keyframes":
            check_prompts(options, checked(list(options.keyframe_prompts()), clip.frames) if numbers is None else numbers)
            sources.open_images(clip.width, clip.height, numbers or [])
        elif options.control_images is not None:
            control_image(options.control_images)
    if options.editor == "images" and options.images is not None:
        images = ImagesEditor(options.images, clip.width, clip.height)
        if numbers is None and options.keyframes is None:
            numbers = checked(list(images.files), clip.frames)
        images.check(numbers or [])


def _part(stage: type[Stage], options: RunOptions, **changes: Any) -> Stage:
    """The options of one stage."""
    return stage(**{field.name: getattr(options, field.name) for field in fields(stage)} | changes)


def _timed(name: str, stage: Callable[[Stage], object], options: Stage) -> None:
    start = time.perf_counter()
    said = stage(options)
    line = str(said) if isinstance(said, str) or type(said).__str__ is not object.__str__ else "done"
    say(f"[{name} {time.perf_counter() - start:.1f} s] {line}")


if __name__ == "__main__":
    run_command(RunOptions, run, answer)
