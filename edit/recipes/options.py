"""Options of --on frames by a prompt: a recipe, and single choices that replace its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from atlas.errors import UserError
from edit.recipes.presets import DEFAULT, PRESETS
from edit.recipes.recipe import (
    AGREED_BY,
    AgreeForm,
    Agreeing,
    Finish,
    Noise,
    Recipe,
    Sample,
    Stage,
    Tune,
    check_clip,
    check_stage,
)

_HELP = "With --on frames: how all frames are edited. " + "; ".join(f"{name}: {p.meaning}" for name, p in PRESETS.items())


@dataclass(kw_only=True)
class FramesOptions:
    """Options of --editor diffusion --on frames. None: what the recipe has."""

    recipe: Annotated[str | None, tyro.conf.arg(help=f"{_HELP}. Default: {DEFAULT}.")] = None
    noise: Noise | None = None
    """Noise of each frame: its own, fixed (the same for all), or atlas (it moves with the layers)."""
    start_from: Annotated[str | None, tyro.conf.arg(name="start")] = None
    """What denoising starts from: noise, frames, or edit:NAME (the frames of another edit on frames)."""
    attend: str | None = None
    """Whom frames attend to: self, joint (all of the window), anchors[:N], anchors:first, track, or grid:N."""
    attend_control: bool | None = None
    """Whether the ControlNets attend as the UNet does."""
    window: int | None = None
    """Frames that are denoised together; 0 for no windows."""
    stride: int | None = None
    """Frames from a window to the next. Default: half a window."""
    agree: Agreeing | None = None
    """By what estimates of the clean frames are made to agree while they are sampled."""
    agree_at: str | None = None
    """At which shares of the schedule: 0.2,0.45, or 0.2-0.85 for every step between."""
    agree_form: AgreeForm | None = None
    """`delta` adds what agreement changed to the latents, `direct` encodes its result."""
    agree_window: int | None = None
    """Frames on either side that are made to agree with each other; 0: all."""
    agree_robust: bool | None = None
    """With --agree atlas: of several looks of a place take the commoner, not the mean."""
    tune: str | None = None
    """Fine-tune the model first: clip, fused, edit:NAME (pairs from that edit's keyframes), or none."""
    tune_with: str | None = None
    """What is tuned: lora:RANK, or full."""
    tune_steps: int | None = None
    """Steps of tuning."""
    tune_rate: float | None = None
    """Learning rate of tuning."""
    tune_late: int | None = None
    """Only timesteps below this are learned; 1000 for all."""
    tune_pairs: int | None = None
    """Pairs that each edited keyframe gives: 1 itself, more are rendered from it through the atlas."""
    tune_weight: Literal["snr", "plain"] | None = None
    """Whether the loss of a pair is weighted by min-SNR."""
    pairs: Path | None = None
    """Folder of frames that were edited elsewhere, named by frame number: what tuning on the clip learns from."""
    finish: str | None = None
    """What is done to the sampled frames, one after the other: atlas, patches, prior, flow, tone:1.1:1.1, or none."""
    batch: int | None = None
    """Frames that go through the networks at once. Default: 1 on a CPU, 8 on a GPU."""

    def given(self) -> list[str]:
        """Names of the options that were given."""
        return [field.name for field in fields(FramesOptions) if getattr(self, field.name) is not None]


def resolved(options: FramesOptions, *, strength: float | None, steps: int | None, guidance: float | None) -> Recipe:
    """Resolve the recipe: the preset, with every choice replaced that was given beside it; UserError where one cannot be.

    A choice replaces that of each sampling stage that made one, and of the last where none did; how frames agree is a choice
    of the stages in which they do.
    """
    name = DEFAULT if options.recipe is None else options.recipe
    if name not in PRESETS:
        raise UserError(f"there is no recipe {name!r}: --recipe is one of {', '.join(PRESETS)} (--recipe help explains them)")
    stages: list[Stage] = list(PRESETS[name].stages)
    everywhere = {"noise": options.noise, "steps": steps, "guidance": guidance}
    stages = _replaced(stages, Sample, everywhere, lambda sample, name: True)
    if options.agree == "none":
        stages = [replace(s, agree="none", agree_at="") if isinstance(s, Sample) else s for s in stages]
    alone = {
        "start": options.start_from,
        "strength": strength,
        "attend": options.attend,
        "attend_control": options.attend_control,
        "agree": None if options.agree == "none" else options.agree,
    } | _windows(options)
    stages = _replaced(stages, Sample, alone, _chose)
    how = {name: getattr(options, name) for name in AGREED_BY}
    stages = _replaced(stages, Sample, how | {"agree_at": options.agree_at}, lambda sample, name: sample.agree != "none")
    if options.agree not in (None, "none") and options.agree_at is None:
        stages = [
            replace(s, agree_at=s.agree_at or "0.2-0.85") if isinstance(s, Sample) and s.agree != "none" else s for s in stages
        ]
    stages = _tuned(stages, options)
    if options.finish is not None:
        stages = [stage for stage in stages if not isinstance(stage, Finish)]
        if options.finish.strip() != "none":
            stages += [Finish(by.strip()) for by in options.finish.split(",")]
    for stage in stages:
        check_stage(stage)
    _check_related(options, stages, strength)
    return Recipe(name, tuple(stages))


def for_clip(recipe: Recipe, options: FramesOptions, frames: int) -> Recipe:
    """Fit the recipe to a clip of so many frames: windows of a preset are cut to it; UserError where the user's are longer."""
    if options.window:
        check_clip(recipe.stages, frames)
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch {options.batch}: give 1 or more")

    def fitted(stage: Stage) -> Stage:
        if not isinstance(stage, Sample) or stage.window <= frames:
            return stage
        return (
            replace(stage, window=frames, stride=min(stage.stride, frames))
            if frames > 1
            else replace(stage, window=0, stride=0)
        )

    return replace(recipe, stages=tuple(map(fitted, recipe.stages)))


def _windows(options: FramesOptions) -> dict[str, Any]:
    """The window and stride that were given; half a window where only that was."""
    if options.window is None:
        return {"stride": options.stride}
    stride = options.stride
    if stride is None:
        stride = max(options.window // 2, 1) if options.window else 0
    return {"window": options.window, "stride": stride}


def _chose(sample: Sample, name: str) -> bool:
    return bool(getattr(sample, name) != Sample.__dataclass_fields__[name].default)


def _replaced(stages: list[Stage], kind: type, choices: dict[str, Any], chose: Callable[[Sample, str], bool]) -> list[Stage]:
    """The stages with choices replaced where they were made, or in the last of the kind."""
    result = list(stages)
    places = [i for i, stage in enumerate(stages) if isinstance(stage, kind)]
    for name, value in choices.items():
        if value is not None and places:
            for i in [i for i in places if chose(stages[i], name)] or places[-1:]:  # type: ignore[arg-type]
                result[i] = replace(result[i], **{name: value})
    return result


def _tuned(stages: list[Stage], options: FramesOptions) -> list[Stage]:
    """The stages with tuning left out, put in before the last sampling, or changed."""
    if options.tune == "none":
        stages = [stage for stage in stages if not isinstance(stage, Tune)]
    elif options.tune is not None and not any(isinstance(stage, Tune) for stage in stages):
        last = max(i for i, stage in enumerate(stages) if isinstance(stage, Sample))
        stages = [*stages[:last], Tune(on=options.tune), *stages[last:]]
    choices = {
        "on": None if options.tune == "none" else options.tune,
        "how": options.tune_with,
        "steps": options.tune_steps,
        "rate": options.tune_rate,
        "late": options.tune_late,
        "pairs": options.tune_pairs,
        "weight": options.tune_weight,
    }
    return _replaced(stages, Tune, choices, lambda stage, name: True)


def _check_related(options: FramesOptions, stages: list[Stage], strength: float | None) -> None:
    """UserError where an option was given whose stage or choice is not in the recipe."""
    tunes = [stage for stage in stages if isinstance(stage, Tune)]
    samples = [stage for stage in stages if isinstance(stage, Sample)]
    for name in options.given():
        option = "--" + name.replace("_", "-")
        if name.startswith("tune_") and not tunes:
            raise UserError(f"{option} is for recipes that tune: add --tune clip, or leave it out")
        if name == "pairs" and not any(tune.on == "clip" for tune in tunes):
            raise UserError("--pairs is for recipes that tune on the clip: add --tune clip, or leave it out")
        if name.startswith("agree_") and all(sample.agree == "none" for sample in samples):
            raise UserError(f"{option} needs --agree: say by what frames are to agree, or leave it out")
        if (ways := AGREED_BY.get(name)) and getattr(options, name) and all(sample.agree not in ways for sample in samples):
            by = next(sample.agree for sample in samples if sample.agree != "none")
            raise UserError(f"{option} is for --agree {' or '.join(ways)}, not --agree {by}: leave one of them out")
    if strength is not None and strength < 1 and all(sample.start == "noise" for sample in samples):
        raise UserError(f"--strength {strength:g} is for frames that start from a picture: add --start frames, or leave it out")
    first = next((i for i, stage in enumerate(stages) if isinstance(stage, Tune) and stage.on == "fused"), None)
    if first is not None and not any(isinstance(stage, Sample) for stage in stages[:first]):
        raise UserError(
            "--tune fused learns from frames that were sampled before: use --recipe consistency-tuning, or --tune clip"
        )
