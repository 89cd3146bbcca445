"""A recipe of stages: sampling all frames, tuning the model on the clip, finishing the frames. Data alone, checked here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from atlas.errors import UserError
from edit.tuning.settings import TuneSettings

Noise = Literal["own", "fixed", "atlas"]
Agreeing = Literal["none", "atlas", "patches", "fusion", "flow"]
AgreeForm = Literal["delta", "direct"]
AGREED_BY: dict[str, tuple[Agreeing, ...]] = {
    "agree_form": ("atlas", "patches", "flow"),
    "agree_window": ("atlas", "patches", "flow"),
    "agree_robust": ("atlas",),
}
"""Choices of how frames agree, and the ways that have them: fusion is of latents, and looks at all frames."""
Blend = Literal["flat", "triangular"]
ANCHORS = 4
"""Frames that all others attend to, where a recipe does not say how many."""


@dataclass(frozen=True)
class Sample:
    """Sampling of all frames: one denoising loop over them, and what makes them alike in it."""

    kind: ClassVar[str] = "sample"
    noise: Noise = "own"
    """What each frame starts from: noise of its own, the same, or noise that moves with the layers."""
    start: str = "noise"
    """What denoising starts from: `noise` alone, the `frames`, or `edit:NAME`, the frames of another edit."""
    strength: float = 1.0
    """How far a frame may leave what it starts from."""
    attend: str = "self"
    """Whom frames attend to: `self`, `joint` (all of the window), `anchors[:N|:first]`, `track[:N]`, `grid:N`."""
    attend_control: bool = True
    """Whether the ControlNets attend as the UNet does."""
    window: int = 0
    """Frames of a window; 0: all in one."""
    stride: int = 0
    """Frames from a window to the next."""
    blend: Blend = "flat"
    """How predictions of windows that overlap are weighted."""
    agree: Agreeing = "none"
    """By what the estimates of the clean frames are made to agree."""
    agree_at: str = ""
    """At which shares of the schedule: `0.2,0.45`, or `0.2-0.85` for every step between."""
    agree_form: AgreeForm = "delta"
    """`delta` adds what agreement changed to the latent; `direct` encodes its result."""
    agree_window: int | None = None
    """Frames on either side that agree with each other; None: what is usual for the way."""
    agree_robust: bool = False
    """Whether, of several looks of a place, the commoner wins (atlas)."""
    agree_tone: str = ""
    """Contrast and sharpness after each agreement, as `1.1:1.1`."""
    steps: int = 20
    guidance: float = 9.0

    @property
    def first_step(self) -> int:
        """The step at which frames enter, `steps` where they stay what they start from: rounded as diffusers does."""
        return 0 if self.start == "noise" else self.steps - min(int(self.steps * self.strength), self.steps)


@dataclass(frozen=True)
class Tune:
    """Fine-tuning of the model on the clip, before the next sampling."""

    kind: ClassVar[str] = "tune"
    on: str = "clip"
    """What it learns: `clip` (its frames, and pairs of a frame and its edit), `fused` (the frames sampled so far), or
    `edit:NAME` (pairs from the keyframes of an edit)."""
    pairs: int = 1
    """Pairs that one edited keyframe gives: 1 itself; more are rendered from it through the atlas."""
    strength: float = 0.75
    """How far the edited keyframe, where the recipe makes it, may leave its frame."""
    steps: int = 1000
    rate: float = 1e-4
    """Learning rate."""
    late: int = 500
    """Only timesteps below this are learned."""
    how: str = "lora:16"
    """`lora:RANK`, or `full` for all weights of the UNet."""
    weight: Literal["snr", "plain"] = "snr"
    """Whether the loss of a pair is weighted by min-SNR."""
    masks: bool = False
    """Whether foreground and background count once more, each for itself."""

    def settings(self, seed: int) -> TuneSettings:
        """The part that training asks for."""
        return TuneSettings(self.steps, self.rate, self.late, self.how, self.weight, seed=seed)


@dataclass(frozen=True)
class Finish:
    """Finishing of the sampled frames: agreement after the last step, or contrast and sharpness once."""

    kind: ClassVar[str] = "finish"
    by: str = "atlas"
    """`atlas`, `patches`, `prior`, `flow`, or `tone:CONTRAST:SHARPNESS`."""


Stage = Sample | Tune | Finish
FINISHES = ("atlas", "patches", "prior", "flow")


@dataclass(frozen=True)
class Recipe:
    """How all frames of a layer are edited by a prompt."""

    name: str
    """The preset that it began with."""
    stages: tuple[Stage, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        return f"recipe {self.name}: " + " -> ".join(map(_shown, self.stages))

    def to_dict(self) -> dict[str, Any]:
        """Every choice as resolved, JSON-ready: a preset may change later."""
        return {"name": self.name, "stages": [{"stage": stage.kind} | asdict(stage) for stage in self.stages]}

    @property
    def samples(self) -> list[Sample]:
        """The stages that sample."""
        return [stage for stage in self.stages if isinstance(stage, Sample)]

    def needs_fit(self) -> str | None:
        """Name the first choice that cannot do without a fit; None where none is needed."""
        for stage in self.stages:
            if isinstance(stage, Sample):
                attend = stage.attend.partition(":")[0]
                for option, needed in (
                    (f"--noise {stage.noise}", stage.noise == "atlas"),
                    (f"--attend {stage.attend}", attend == "track"),
                    (f"--agree {stage.agree}", stage.agree in ("atlas", "fusion")),
                ):
                    if needed:
                        return option
            elif isinstance(stage, Tune) and (stage.pairs > 1 or stage.masks):
                return "--tune-pairs above 1" if stage.pairs > 1 else f"--tune {stage.on}"
            elif isinstance(stage, Finish) and stage.by == "atlas":
                return "--finish atlas"
        return None


def check_stage(stage: Stage) -> None:
    """UserError for a choice that no clip could be edited by."""
    if isinstance(stage, Sample):
        _check_sample(stage)
    elif isinstance(stage, Tune):
        if not (stage.on in ("clip", "fused") or re.fullmatch(r"edit:.+", stage.on)):
            raise UserError(f"--tune {stage.on!r} is not understood: write none, clip, fused or edit:NAME")
        stage.settings(0).check()
        _check_ranges(("tune-pairs", stage.pairs, 1, 300))
    elif stage.by.partition(":")[0] == "tone":
        tone_of(stage.by.partition(":")[2], "--finish")
    elif stage.by not in FINISHES:
        raise UserError(f"--finish {stage.by!r} is not understood: write none, tone:1.1:1.1, or one of {', '.join(FINISHES)}")


def _check_sample(sample: Sample) -> None:
    if not (sample.start in ("noise", "frames") or re.fullmatch(r"edit:.+", sample.start)):
        raise UserError(f"--start {sample.start!r} is not understood: write noise, frames or edit:NAME")
    attending(sample.attend)
    _check_ranges(("steps", sample.steps, 1, 1000), ("guidance", sample.guidance, 0, 100), ("strength", sample.strength, 0, 1))
    if sample.window < 0 or sample.stride < 0 or sample.window == 1:
        raise UserError(f"--window {sample.window} --stride {sample.stride}: give a window of 2 frames or more, or 0 for none")
    if sample.window and not 1 <= sample.stride <= sample.window:
        raise UserError(
            f"--stride {sample.stride} leaves frames out between windows of {sample.window}: choose from 1 to {sample.window}"
        )
    if sample.stride and not sample.window:
        raise UserError(f"--stride {sample.stride} needs windows: give --window as well")
    if sample.window and attending(sample.attend)[0] in ("anchors", "track", "grid"):
        raise UserError(
            f"--window {sample.window} with --attend {sample.attend}, which sees all frames: say --window 0, or --attend joint"
        )
    if sample.agree == "none":
        return
    if not sample.agree_at:
        raise UserError(f"--agree {sample.agree} needs --agree-at: shares of the schedule such as 0.2,0.45 or 0.2-0.85")
    shares(sample.agree_at)
    if sample.agree_tone:
        tone_of(sample.agree_tone, "--agree-tone")
    if sample.agree_window is not None and sample.agree_window < 0:
        raise UserError(f"--agree-window {sample.agree_window}: give 0 (all frames) or more")


def _check_ranges(*ranges: tuple[str, float, float, float]) -> None:
    for name, value, low, high in ranges:
        if not (math.isfinite(value) and low <= value <= high):
            raise UserError(f"--{name} {value:g} is out of range: choose from {low:g} to {high:g}")


def attending(text: str) -> tuple[str, int | None]:
    """Read whom frames attend to: the way, and its number (anchors: None for the first frame alone; grid: its side)."""
    way, _, number = text.partition(":")
    if text in ("self", "joint"):
        return way, 0
    if text == "anchors:first":
        return way, None
    if text in ("anchors", "track"):
        return way, ANCHORS
    count = int(number) if re.fullmatch(r"[0-9]{1,2}", number) else 0
    if (way in ("anchors", "track") and 1 <= count <= 64) or (way == "grid" and 2 <= count <= 8):
        return way, count
    raise UserError(f"--attend {text!r} is not understood: write self, joint, anchors, anchors:first, track, or grid:3")


def shares(text: str) -> tuple[float, ...] | tuple[tuple[float, float]]:
    """Read shares of the schedule: single ones of "0.2,0.45", or the two ends of "0.2-0.85" as one pair."""
    pattern = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*"
    if match := re.fullmatch(pattern + "-" + pattern, text):
        found = [float(match[1]), float(match[2])]
        values: tuple[Any, ...] = ((found[0], found[1]),)
    else:
        parts = [re.fullmatch(pattern, part) for part in text.split(",")]
        if not all(parts):
            raise UserError(f"--agree-at {text!r} is not understood: write shares of the schedule, 0.2,0.45 or 0.2-0.85")
        values = found = [float(part[1]) for part in parts if part]  # type: ignore[assignment]
        values = tuple(found)
    if not all(0 <= share <= 1 for share in found) or (len(values) < len(found) and found[0] > found[1]):
        raise UserError(f"--agree-at {text}: shares of the schedule go from 0 (first step) to 1 (last step), lower ones first")
    return values


def steps_at(text: str, steps: int) -> set[int]:
    """Choose the steps, of `steps`, at the given shares of the schedule: 0.2,0.45,0.7,0.95 of 20 are 4, 9, 14 and 19."""
    chosen: set[int] = set()
    for share in shares(text) if text else ():
        if isinstance(share, tuple):
            low, high = (value * steps for value in share)
            chosen |= {i for i in range(steps) if low - 1e-6 <= i <= high + 1e-6}
        else:
            chosen.add(min(int(share * steps + 1e-6), steps - 1))
    return chosen


def tone_of(text: str, option: str) -> tuple[float, float]:
    """Read CONTRAST:SHARPNESS; UserError where it is none."""
    parts = text.split(":")
    try:
        contrast, sharpness = (float(part) for part in parts)
    except ValueError:
        contrast = sharpness = math.nan
    if not all(math.isfinite(value) and 0 <= value <= 10 for value in (contrast, sharpness)):
        raise UserError(f"{option} tone {text!r} is not understood: write contrast and sharpness, such as 1.1:1.1")
    return contrast, sharpness


def check_clip(stages: Sequence[Stage], frames: int) -> None:
    """UserError where windows are longer than a clip of so many frames."""
    for stage in stages:
        if isinstance(stage, Sample) and stage.window > frames:
            raise UserError(
                f"--window {stage.window} is longer than the clip: it has {frames} frames, choose fewer or leave it out"
            )


def _shown(stage: Stage) -> str:
    """The choices of a stage that are not at their plainest."""
    chosen = [
        f"{f.name.replace('_', '-')}={getattr(stage, f.name)}"
        for f in fields(stage)
        if getattr(stage, f.name) != f.default or f.name in ("noise", "steps", "by", "on")
    ]
    return f"{stage.kind}({', '.join(chosen)})"
