"""Every frame by a prompt: a recipe carried out once for all of them, then laid into the frames one by one."""

from __future__ import annotations

import sys

import numpy as np

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.maps.maps import Maps, open_maps
from atlas.storage.images import read_image, to_float
from atlas.system.terminal import say
from edit.all_frames.run import RecipeRun
from edit.all_frames.scene import Scene
from edit.diffusion.sources import Sources
from edit.editors.prompt import PromptOptions
from edit.editors.protocol import FittedLayer, Keyframe, KeyframeEditor
from edit.recipes.recipe import Recipe, Sample, steps_at
from edit.request.options import LayerOptions


class PromptFrames(KeyframeEditor):
    """Edits every frame by a recipe.

    All of them are made before the first is given out. What stages make is kept in the layer's cache, each under a digest of
    all that it was made from: a changed finish samples nothing again, a killed run goes on after the last step that it did.
    """

    holds_fit = is_slow = True

    def __init__(self, options: PromptOptions, recipe: Recipe, layer: FittedLayer, sources: Sources) -> None:
        self.options, self.layer, self.sources = options, layer, sources
        self.order = list(range(layer.clip.frames))
        self.notes: list[str] = [str(recipe), *_without_effect(recipe)]
        _check_others(recipe, layer.cache.parents[1].name)
        self._prompts = prompts_of_frames(options, layer.clip.frames)
        fit = _fit_that_is_there(layer.clip, options.fit) if layer.fit is None else layer.fit
        self._scene = Scene(layer.clip, layer.name, fit, lambda: options.resolution or sources.model().size)
        self._run = RecipeRun(
            recipe,
            self._scene,
            sources,
            self._prompts,
            seed=options.seed,
            batch=options.batch,
            pairs=options.pairs,
            folder=layer.cache,
            sheets=layer.cache.parents[1] / "steps" / layer.name,
            quiet=options.quiet,
            notes=self.notes,
        )

    def fingerprint(self) -> str:
        """Digest of all that the frames are made from."""
        return self._run.keys[-1]

    def check(self) -> None:
        """UserError where weights or prompts cannot be used; loads the weights where something has to be made."""
        if not self._run.made.is_dir():
            if not self.options.quiet:
                say(self.notes[0], sys.stderr)
            self.sources.check(set(self._prompts))

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The edited frame as (H, W, 4) float32; alpha 0 away from the crop."""
        made = to_float(read_image(self._run.frames() / f"{keyframe.index:05d}.png", mode="rgb"))
        return self._scene.crop_of_size(keyframe.index, made.shape[:2]).paste(made, keyframe.frame)


def prompts_of_frames(options: PromptOptions, frames: int) -> list[str]:
    """The prompt of every frame: one of its own holds from its frame on, until the next."""
    marks, prompt, prompts = options.keyframe_prompts(), (options.prompt or "").strip(), []
    for index in range(frames):
        prompt = marks.get(index, prompt)
        prompts.append(prompt)
    return prompts


def _without_effect(recipe: Recipe) -> list[str]:
    """Lines about what was asked for and is not done, as no step is left for it: --strength 0 alone asks for that."""
    notes = []
    for sample in recipe.samples:
        taken = range(sample.first_step, sample.steps)
        if not taken and sample.strength > 0:
            notes.append(
                f"--strength {sample.strength:g} of --steps {sample.steps} is no whole step: frames stay what they start from;"
                " take more steps, or a higher --strength"
            )
        elif taken and sample.agree != "none" and not steps_at(sample.agree_at, sample.steps) & set(taken):
            notes.append(
                f"--agree-at {sample.agree_at} holds none of the steps {taken[0] / sample.steps:g} to"
                f" {taken[-1] / sample.steps:g} that are taken: frames are not made to agree in them"
            )
    return notes


def _check_others(recipe: Recipe, own: str) -> None:
    """UserError where frames are to be made from the very edit that they replace: each run would start from the last one's."""
    for stage in recipe.stages:
        option, other = ("--start", stage.start) if isinstance(stage, Sample) else ("--tune", getattr(stage, "on", ""))
        if other == f"edit:{own}":
            raise UserError(f"{option} {other} is the edit that is made here: choose another --name, or name another edit")


def _fit_that_is_there(clip: Clip, name: str) -> Maps | None:
    """The fit of whole frames that need none: where there is one, it is used; UserError where one that was named is missing."""
    made = (clip.fit_folder(name) / "maps" / "maps.json").is_file()
    return open_maps(clip, name) if made or name != LayerOptions.fit else None
