"""From a source to an edited video: the options of all stages, what is checked before the long ones, and their order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import tyro

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import WHOLE_FRAME, Clip, checked_name
from atlas.errors import UserError
from atlas.fitting.stage import FitOptions, fit
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.output import check_format, choose_output
from atlas.rendering.settings import check_light
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.pictures import picture_bytes
from atlas.system.command import CommonOptions
from atlas.system.device import Device
from atlas.system.terminal import say
from edit.editors import EditOptions
from edit.editors.choice import chosen_editor, editor_class
from edit.stage import edit

Stage = TypeVar("Stage", bound=CommonOptions)


@dataclass(kw_only=True)
class RunOptions(RenderOptions, AggregateOptions, EditOptions, FitOptions, PrepareOptions):
    """From a source to an edited video: prepare, fit, edit, aggregate, render. The options are those of the stages."""

    # Only what differs from the stages' own options stands here.
    clip: tyro.conf.Positional[Path] = field()  # no default, as PrepareOptions has
    """Folder of the clip to make, or to go on with."""
    name: str = ""
    """Name of the edit. Default: the filter's or the editor's."""
    layer: str = ""
    """Layer to edit. Default: the first."""
    edit: tyro.conf.Suppress[str] = ""
    device: Device = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    seed: int = 0
    """Seed of every stage that draws random numbers."""
    steps: int | None = EditOptions.steps
    """With --editor diffusion: denoising steps. Default: 20; with --on frames the recipe's."""
    start_from: str | None = None
    """What denoising starts from with --on frames: noise, frames, or edit:NAME; --start is the source's first frame here."""
    merge_steps: tyro.conf.Suppress[int] = AggregateOptions.merge_steps  # --steps is the edit's


def run(options: RunOptions) -> str:
    """Run all stages; each skips what is up to date. Returns where the results are.

    What can be wrong with the edit is found out before the fit, which takes longest. For that the weights are loaded where
    there is no fit yet.
    """
    if options.name:
        checked_name(options.name, "edit")
    editor = chosen_editor(options)
    name = options.name or checked_name(editor.default_name(), "edit")
    _check_other_stages(options)
    editor.find(try_out=not (options.clip / "fits" / options.fit / "maps" / "maps.json").is_file())
    _timed("prepare", prepare, _part(PrepareOptions, options))
    clip = Clip.open(options.clip)
    layer = options.layer or clip.layers[0]
    clip.check_editable(layer)
    editor.check_for(clip, layer)
    if editor.needs_fit(layer):
        _timed("fit", fit, _part(FitOptions, options, name=options.fit))
    else:
        say("[fit] left out: whole frames are edited, which needs none")
    _timed("edit", edit, _part(EditOptions, options, name=name, layer=layer))
    on_frames = editor.target(layer) == "frames"
    if on_frames and options.mode in ("auto", "frames"):
        say("[aggregate] left out: every frame is edited, and rendered as it is")
    else:
        _timed("aggregate", aggregate, _part(AggregateOptions, options, edit=name))
    _timed("render", render, _part(RenderOptions, options, edit=name))
    folder = clip.edit_folder(name)
    result = choose_output(clip, name, options.format, alpha=options.alpha, path=options.output).path
    atlas = f"the layer's atlas, to paint on: {clip.fit_folder(options.fit) / 'layers' / layer / 'atlas.png'}"
    frames = f"the edited frames, to repaint: {folder / 'keyframes' / layer}"
    sheet = f"source above, result below: {folder / 'sheet.png'}"
    return "\n".join([f"result: {result}", sheet, frames if on_frames else atlas])


def default_name(options: RunOptions) -> str:
    """The filter's name, or the editor's."""
    return editor_class(options)(options).default_name()


def _check_other_stages(options: RunOptions) -> None:
    """UserError for what is wrong with the stages around the edit, as far as that takes no clip."""
    checked_name(options.fit, "fit")
    if options.keep is not None:
        picture_bytes(options.keep)  # not decoded: its size has to be the atlas's, which is still to be made
    check_format(options.format, alpha=options.alpha, crf=options.crf)
    check_light(options.mode, options.light)
    if options.mode == "frames" and options.on != "frames":
        raise UserError("--mode frames is for --on frames: say both, or leave --mode out")
    if options.layer == WHOLE_FRAME and options.mode not in ("auto", "frames"):
        raise UserError(f"--mode {options.mode} is through atlases, and whole frames have none: leave it out")


def _part(stage: type[Stage], options: RunOptions, **changes: Any) -> Stage:
    """The options of one stage."""
    return stage(**{field.name: getattr(options, field.name) for field in fields(stage)} | changes)


def _timed(name: str, stage: Callable[[Stage], object], options: Stage) -> None:
    start = time.perf_counter()
    outcome = stage(options)
    line = str(outcome) if isinstance(outcome, str) or type(outcome).__str__ is not object.__str__ else "done"
    say(f"[{name} {time.perf_counter() - start:.1f} s] {line}")
