"""Who reads which file: for each kind of damaged file the stages and readers that it is handed to."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aggregate.stage import AggregateOptions, aggregate
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.fitting.stage import FitOptions, fit
from atlas.model.checkpoint import open_model
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.stage import RenderOptions, render
from edit.controls.poses import Poses
from edit.editors import EditOptions
from edit.stage import edit
from scripts.benchmarks.damage.models import models_run
from scripts.benchmarks.damage.mutations import mutate_folder, mutated
from scripts.benchmarks.damage.original import EDIT, FIT, HEIGHT, WIDTH

Act = Callable[[Path], object]
"""Runs a stage on the files in a folder that `make_original` made."""


def _render(case: Path) -> object:
    return render(RenderOptions(clip=case / "room/clip", edit=EDIT, format="png", device="cpu", quiet=True))


def _aggregate(case: Path) -> object:
    options = AggregateOptions(clip=case / "room/clip", edit=EDIT, method="mean", colours="kept", device="cpu", quiet=True)
    return aggregate(options)


def _evaluate(case: Path) -> object:
    return evaluate(EvaluateOptions(clip=case / "room/clip", edit=EDIT, weights="none", quiet=True))


def _points(case: Path) -> object:
    options = EvaluateOptions(clip=case / "room/clip", weights="none", points=case / "given/points.csv", quiet=True)
    return evaluate(options)


def _fit(case: Path) -> object:
    return fit(FitOptions(clip=case / "room/clip", preset="preview", iterations=1, name="other", device="cpu", quiet=True))


def _edit(case: Path, **more: object) -> object:
    chosen = {"clip": case / "room/clip", "name": "new", "layer": "foreground", "fit": FIT, "quiet": True}
    return edit(EditOptions(**(chosen | more)))  # type: ignore[arg-type]


def _grey(case: Path) -> object:
    return _edit(case, editor="filter", filter="grey", keyframes="0,2")


def _images(case: Path) -> object:
    return _edit(case, editor="images", images=case / "given/images")


def _painted(case: Path) -> object:
    return _edit(case, editor="atlas", image=case / "given/painted.png")


def _prepare(case: Path) -> object:
    given = case / "given"
    return prepare(PrepareOptions(source=given / "frames", clip=case / "room/new", masks=str(given / "masks"), quiet=True))


def _prepare_film(case: Path) -> object:
    options = PrepareOptions(
        source=case / "given/film.mp4", clip=case / "room/new", masks=str(case / "given/masks"), quiet=True
    )
    return prepare(options)


def _prepare_flow(case: Path) -> object:
    given = case / "given"
    options = PrepareOptions(
        source=given / "frames", clip=case / "room/new", masks=str(given / "masks"), flow=given / "flow", quiet=True
    )
    return prepare(options)


def _prepare_again(case: Path) -> object:
    return prepare(PrepareOptions(source=case / "room/clip", masks="none", quiet=True))


def _poses(case: Path) -> object:
    return Poses(case / "given/poses", WIDTH, HEIGHT, 3)


def _model(case: Path) -> object:
    return open_model(case / "room/clip/fits" / FIT)


def _diffusion(case: Path, **more: object) -> object:
    """One keyframe by one step of the tiny model."""
    models = case / "given/models"
    chosen = {"prompt": "a word", "model": str(models / "model"), "controlnet": (str(models / "controlnet"),), "steps": 1}
    return _edit(case, editor="diffusion", keyframes="0", device="cpu", offline=True, **(chosen | more))


def _lora(case: Path) -> object:
    return _diffusion(case, lora=(f"{case / 'given/models/lora.safetensors'}:0.5",))


def _word(case: Path) -> object:
    return _diffusion(case, textual_inversion=(f"{case / 'given/models/word.safetensors'}:word",))


def _depth(case: Path) -> object:
    return _diffusion(case, control=("depth",), depth_model=str(case / "given/models/depth"))


@dataclass(frozen=True)
class Subject:
    """A kind of input: files by a pattern, how often it is drawn, and who is handed them."""

    kind: str
    pattern: str
    weight: int
    acts: tuple[Act, ...]
    is_folder: bool = False

    def damage(self, case: Path, draw: random.Random) -> tuple[str, Act]:
        """Damage one of its files below `case`; what was damaged, and who is to read it."""
        files = sorted(path for path in case.glob(self.pattern) if path.is_dir() == self.is_folder)
        path, act = draw.choice(files), draw.choice(self.acts)
        if self.is_folder:
            mutate_folder(path, draw)
        else:
            path.write_bytes(mutated(path.read_bytes(), path.suffix, draw))
        return str(path.relative_to(case)), act


SUBJECTS = (
    Subject("JSON", "room/clip/*.json", 8, (_render, _aggregate, _grey, _fit)),
    Subject("JSON", "room/clip/fits/default/**/*.json", 8, (_render, _aggregate, _grey, _model)),
    Subject("JSON", "room/clip/edits/red/**/*.json", 8, (_render, _aggregate, _aggregate, _evaluate)),
    Subject("JSON", "given/poses/*.json", 6, (_poses,)),
    Subject("JSON", "room/clip/prepare.json", 4, (_prepare_again,)),
    Subject("PNG", "room/clip/frames/*.png", 4, (_aggregate, _grey, _grey, _evaluate)),
    Subject("PNG", "room/clip/masks/**/*.png", 2, (_fit, _evaluate)),
    Subject("PNG", "room/clip/fits/default/layers/**/*.png", 5, (_render, _aggregate)),
    Subject("PNG", "room/clip/edits/red/**/*.png", 6, (_render, _aggregate)),
    Subject("PNG", "given/images/*.png", 5, (_images,)),
    Subject("PNG", "given/painted.png", 4, (_painted,)),
    Subject("npy", "room/clip/flow/*.npy", 3, (_evaluate, _fit)),
    Subject("npy", "room/clip/fits/default/**/*.npy", 8, (_render, _aggregate, _grey)),
    Subject("safetensors", "room/clip/fits/default/*.safetensors", 8, (_model,)),
    Subject("mp4", "given/film.mp4", 8, (_prepare_film,)),
    Subject("mask folder", "given/masks", 10, (_prepare,), is_folder=True),
    Subject("frame folder", "given/frames", 4, (_prepare,), is_folder=True),
    Subject("image folder", "given/images", 3, (_images,), is_folder=True),
    Subject("flow", "given/flow/*", 6, (_prepare_flow,)),
    Subject("flow folder", "given/flow", 2, (_prepare_flow,), is_folder=True),
    Subject("CSV", "given/points.csv", 2, (_points,)),
)
"""What is damaged, and who reads it: quick readers more often than slow ones."""
OF_MODELS = (
    Subject("model", "given/models/model/**/*.json", 12, (_diffusion,)),
    Subject("model", "given/models/model/**/*.safetensors", 6, (_diffusion,)),
    Subject("model", "given/models/controlnet/*", 4, (_diffusion,)),
    Subject("model", "given/models/depth/*", 4, (_depth,)),
    Subject("model", "given/models/lora.safetensors", 5, (_lora,)),
    Subject("model", "given/models/word.safetensors", 3, (_word,)),
)
"""The same of what diffusers loads."""


def subjects() -> tuple[Subject, ...]:
    """All that can be read here: models only where what runs them is installed."""
    return SUBJECTS + (OF_MODELS if models_run() else ())
