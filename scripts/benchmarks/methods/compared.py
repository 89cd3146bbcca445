"""The comparison of methods as parts of a bench: one for each recipe, so that what has been measured is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.errors import UserError
from atlas.storage.stamps import digest
from atlas.weights.hub import fingerprint
from scripts.benchmarks.methods.asked import KEYFRAMES, MethodsOptions
from scripts.benchmarks.methods.sheet import SOURCE, write_sheet
from scripts.benchmarks.methods.tables import PREFIX
from scripts.benchmarks.parts import LOADED, Part

HALF = "methods"
_RUN = ("scripts.edit", "scripts.aggregate", "scripts.render", "edit.strategies.propagate", *LOADED)
_QUICK_STEPS = 3


def method_parts(asked: MethodsOptions, clip: Clip, device: str, pictures: Path, *, quick: bool) -> tuple[Part, ...]:
    """List a part of the bench for each recipe that is asked for, on a clip; UserError as `chosen` raises it, or no such layer.

    pictures: folder for what they show. quick: with few steps, where the options do not say how many.
    """
    names = asked.chosen()
    if asked.layer not in (None, WHOLE_FRAME, *clip.layers):
        raise UserError(
            f"--layer {asked.layer}: {clip.folder} has the layers {', '.join(clip.layers)}; or choose {WHOLE_FRAME}"
        )
    if asked.layer == WHOLE_FRAME:
        names = [name for name in names if name != KEYFRAMES]  # which are of one layer
    if quick:
        asked = replace(asked, steps=asked.steps or _QUICK_STEPS, tune_steps=asked.tune_steps or _QUICK_STEPS)
    weights = digest([fingerprint(Path(name)) for name in (asked.model, asked.controlnet) if name and Path(name).exists()])
    arguments = (*asked.arguments(), "--device", device, "--pictures", str(pictures.absolute()))
    return tuple(
        Part(
            PREFIX + name,
            "bench_methods",
            (*arguments, "--recipes", name),
            runs=_RUN,
            half=HALF,
            made_from=weights,
            leaves=pictures.absolute() / f"{name}.png",
        )
        for name in names
    )


def show_methods(parts: Sequence[Part], frames: int, path: Path) -> None:
    """Write the contact sheet of what the parts left; nothing where there is nothing to show. frames: of their clip."""
    strips = [part.leaves for part in parts if part.leaves]
    if strips:
        write_sheet(path, {file.stem: file for file in (strips[0].with_stem(SOURCE), *strips)}, frames)
