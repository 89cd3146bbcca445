"""What a comparison of methods is asked for: weights, a prompt, which recipes. Checked before anything is copied or loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.errors import UserError
from edit.recipes.presets import PRESETS
from edit.recipes.recipe import Tune

KEYFRAMES = "propagate"
"""Stands among the recipes for what they are compared with: keyframes, merged in the atlas of their layer."""
KNOWN = (*PRESETS, KEYFRAMES)


@dataclass(kw_only=True)
class MethodsOptions:
    """Options of the comparison of methods."""

    model: str | None = None
    """For methods: base model, as `edit.py` takes it (hub id, folder or .safetensors file)."""
    controlnet: str | None = None
    """For methods: ControlNet for edges. Default: that of the model's family."""
    prompt: str = "an oil painting"
    """For methods: what all of them are asked for."""
    layer: str | None = None
    """For methods: layer to edit, or `all`, whole frames. Default: the front layer."""
    recipes: str = ",".join(KNOWN)
    """For methods: recipes to compare, separated by commas; `propagate` is keyframes through the atlas."""
    steps: int | None = None
    """For methods: denoising steps. Default: those of each recipe."""
    tune_steps: int | None = None
    """For methods: steps of recipes that tune the model. Default: those of each recipe."""
    seed: int = 0
    """For methods: seed of all of them."""
    offline: bool = False
    """For methods: take weights from folders and the cache alone."""

    def chosen(self) -> list[str]:
        """The recipes that are asked for; UserError for one that is not there, or where there are no weights to edit with."""
        names = list(dict.fromkeys(name.strip() for name in self.recipes.split(",") if name.strip()))
        if not names or set(names) - set(KNOWN):
            raise UserError(f"--recipes {self.recipes}: choose from {', '.join(KNOWN)}, separated by commas")
        if self.model is None:
            raise UserError("methods are compared by edits that a model makes: name one with --model, as for edit.py")
        if not self.prompt.strip():
            raise UserError("--prompt is empty: say what the layer is to become")
        for option, value in (("steps", self.steps), ("tune-steps", self.tune_steps)):
            if value is not None and value < 1:
                raise UserError(f"--{option} {value}: give 1 or more")
        return names

    def edit_arguments(self, name: str) -> list[str]:
        """Arguments of `edit.py` for one of the recipes, but for clip, name, layer, fit and device."""
        assert self.model is not None
        arguments = ["--editor", "diffusion", "--prompt", self.prompt, "--seed", str(self.seed), "--model", _placed(self.model)]
        arguments += [] if self.controlnet is None else ["--controlnet", _placed(self.controlnet)]
        arguments += ["--offline"] * self.offline
        arguments += [] if self.steps is None else ["--steps", str(self.steps)]
        if name == KEYFRAMES:
            return [*arguments, "--on", "keyframes", "--strategy", KEYFRAMES]
        tunes = any(isinstance(stage, Tune) for stage in PRESETS[name].stages)
        arguments += ["--tune-steps", str(self.tune_steps)] if tunes and self.tune_steps is not None else []
        return [*arguments, "--on", "frames", "--recipe", name]

    def arguments(self) -> list[str]:
        """Arguments of `bench_methods.py` but for the clip, recipes, device and pictures: all that was not left as it is."""
        given: dict[str, object] = {"model": self.model and _placed(self.model)}
        given |= {"controlnet": self.controlnet and _placed(self.controlnet), "prompt": self.prompt, "layer": self.layer}
        given |= {"steps": self.steps, "tune-steps": self.tune_steps, "seed": self.seed}
        named = [(f"--{name}", str(value)) for name, value in given.items() if value is not None]
        return [word for pair in named for word in pair] + ["--offline"] * self.offline


def _placed(weights: str) -> str:
    """A folder or file by its whole path: commands run in another folder than they were asked from."""
    return str(Path(weights).absolute()) if Path(weights).exists() else weights
