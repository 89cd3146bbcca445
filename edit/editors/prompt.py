"""Editing by a prompt: options, checks, and the choice between keyframes and the layer's atlas. Loads no torch by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from atlas.clip.clip import BACKGROUND, Clip
from atlas.errors import UserError
from edit.editors.protocol import AtlasEditor, Editor, FittedLayer, KeyframeEditor
from edit.recipes.options import FramesOptions, for_clip, resolved
from edit.recipes.presets import preset_help
from edit.recipes.recipe import Recipe, Tune
from edit.request.keyframes import checked, outwards
from edit.request.options import LayerOptions, Target
from edit.request.prompting import STRATEGY, DiffusionOptions
from edit.strategies import STRATEGIES

if TYPE_CHECKING:
    from edit.diffusion.sources import Sources

    Strategy = str
else:
    Strategy = Literal[tuple(STRATEGIES)]

_HELP = "How keyframes are kept alike. " + "; ".join(f"{name}: {strategy.meaning}" for name, strategy in STRATEGIES.items())


_OF_RECIPES = ("strategy", "strength", "hold", "steps", "guidance")  # what of the settings the recipe says, or does without


@dataclass(kw_only=True)
class PromptOptions(FramesOptions, DiffusionOptions, LayerOptions):
    """Options of --editor diffusion, with the strategies that there are."""

    strategy: Annotated[Strategy | None, tyro.conf.arg(help=f"{_HELP}. Default: {STRATEGY}.")] = None

    def target(self, layer: str) -> Target:
        """What is edited of `layer`."""
        return self.on or ("atlas" if layer == BACKGROUND else "keyframes")


class PromptEditor(Editor[PromptOptions]):
    """Stable Diffusion under ControlNet, on keyframes or the atlas of a layer, or on every frame by a recipe."""

    meaning, needs, options_type = "by a prompt", "prompt", PromptOptions
    targets = ("keyframes", "atlas", "frames")
    explains = MappingProxyType({"recipe": preset_help})

    def target(self, layer: str) -> Target:
        """What is edited: as the options say, and the background's atlas where they say nothing."""
        return self.options.target(layer)

    def needs_fit(self, layer: str) -> bool:
        """Whole frames need a fit where a choice of the recipe looks through it, or where it steadies their controls."""
        if super().needs_fit(layer) or self.options.steady_controls:
            return True
        return self.target(layer) == "frames" and self._recipe.needs_fit() is not None

    def check_early(self) -> None:
        """UserError for what is wrong whatever the weights are."""
        options = self.options
        options.check()
        if options.keyframe_strategy() not in STRATEGIES:
            raise UserError(f"there is no strategy {options.strategy!r}: --strategy is one of {', '.join(STRATEGIES)}")
        self._check_recipe()
        if not -(2**63) <= options.seed < 2**64:
            raise UserError(f"--seed {options.seed} is out of range: choose from {-(2**63)} to {2**64 - 1}")

    def find(self, *, try_out: bool) -> None:
        """Find, and fetch, all weights; where it is to be tried out, load them and hold the prompts against them."""
        sources = self._sources
        if try_out:
            sources.check([(self.options.prompt or "").strip(), *self.options.keyframe_prompts().values()])
            sources.make_room()

    def check_for(self, clip: Clip, layer: str) -> None:
        """UserError where keyframes, their prompts or the control images do not suit the clip."""
        options, numbers = self.options, self.named_keyframes(clip)
        self._check_target(layer)
        if options.target(layer) == "frames":
            self._check_frames(clip, layer)
        elif options.target(layer) == "keyframes":
            prompted = checked(list(options.keyframe_prompts()), clip.frames)
            self._check_prompts(prompted if numbers is None else numbers)
            self._sources.open_controls(clip.width, clip.height, clip.fps, numbers or [])
        else:
            self._sources.open_atlas_control()

    def open(self, layer: FittedLayer) -> KeyframeEditor | AtlasEditor:
        """Begin with the layer's keyframes, with its atlas, or with all frames."""
        self._check_target(layer.name)
        if self.options.target(layer.name) == "frames":
            return self._on_frames(layer)
        _ = layer.seen  # UserError where it is never visible
        return self._on_atlas(layer) if self.options.target(layer.name) == "atlas" else self._on_keyframes(layer)

    def asked_for(self, layer: str) -> dict[str, object]:
        """What was chosen, and what is edited; of all frames every choice of the recipe."""
        settings = self.options.settings() | {"on": self.options.target(layer)}
        if self.options.target(layer) == "frames":
            chosen = {name: value for name, value in settings.items() if name not in _OF_RECIPES}
            return {"recipe": self._recipe.to_dict(), "diffusion": chosen}
        return {"diffusion": settings}

    def _on_keyframes(self, layer: FittedLayer) -> KeyframeEditor:
        from edit.editors.prompt_keyframes import PromptKeyframes

        keyframes = self.chosen_keyframes(layer)
        self._check_prompts(keyframes)
        self._sources.open_controls(layer.clip.width, layer.clip.height, layer.clip.fps, keyframes)
        return PromptKeyframes(self.options, layer, self._sources, outwards(keyframes, layer.seen))

    def _on_atlas(self, layer: FittedLayer) -> AtlasEditor:
        from edit.editors.prompt_atlas import PromptAtlas

        options, editor = self.options, PromptAtlas(self.options, layer, self._sources)
        for_keyframes = {"strategy": options.strategy is not None, "hold": options.hold > 0}
        for name, is_given in (for_keyframes | {"steady-controls": options.steady_controls}).items():
            if is_given:
                editor.notes.append(
                    f"--{name} is for keyframes and changed nothing: the atlas of {layer.name} is edited itself"
                )
        return editor

    def _on_frames(self, layer: FittedLayer) -> KeyframeEditor:
        from edit.editors.prompt_frames import PromptFrames

        self._check_frames(layer.clip, layer.name)
        self._recipe = for_clip(self._recipe, self.options, layer.clip.frames)  # as edit.json keeps it
        return PromptFrames(self.options, self._recipe, layer, self._sources)

    @cached_property
    def _recipe(self) -> Recipe:
        """The recipe of --on frames, every choice resolved; UserError where one cannot be made."""
        options = self.options
        return resolved(options, strength=options.strength, steps=options.steps, guidance=options.guidance)

    def _check_recipe(self) -> None:
        """UserError where options for keyframes and for frames were mixed up, or the recipe cannot be followed."""
        options = self.options
        if options.on != "frames":
            for name in options.given():
                raise UserError(f"--{name.replace('_', '-')} is for --on frames: say that too, or leave it out")
            return
        for name, is_given in (("strategy", options.strategy is not None), ("hold", options.hold > 0)):
            if is_given:
                raise UserError(f"--{name} is for keyframes, --on frames has recipes: leave it out, or choose a --recipe")
        for stage in self._recipe.stages:
            if isinstance(stage, Tune):
                stage.settings(options.seed).check_with(options)
        if options.compile and any(sample.attend != "self" for sample in self._recipe.samples):
            raise UserError("--compile is for frames that attend to themselves: leave it out, or say --attend self")

    def _check_frames(self, clip: Clip, layer: str) -> None:
        """UserError where the recipe, the prompts or the control images do not suit all frames of the clip."""
        for_clip(self._recipe, self.options, clip.frames)
        checked(list(self.options.keyframe_prompts()), clip.frames)
        self._sources.open_controls(clip.width, clip.height, clip.fps, range(clip.frames))

    @cached_property
    def _sources(self) -> Sources:
        from edit.diffusion.sources import Sources

        return Sources(self.options, self.options.device)

    def _check_target(self, layer: str) -> None:
        """UserError where options for keyframes or frames were given and the atlas is edited itself."""
        options = self.options
        if options.target(layer) == "atlas" and "pose" in options.control:
            raise UserError(f"--control pose follows frames, and the atlas of {layer} is edited itself: say --on keyframes")
        if options.target(layer) == "atlas" and (options.keyframes is not None or options.prompt_at):
            raise UserError(
                f"the atlas of {layer} is edited itself: leave --keyframes and --prompt-at out, or say --on keyframes"
            )

    def _check_prompts(self, keyframes: list[int]) -> None:
        """UserError where a frame that is no keyframe has a prompt of its own."""
        unused = sorted(set(self.options.keyframe_prompts()) - set(keyframes))
        if unused:
            raise UserError(f"--prompt-at {unused[0]} is no keyframe: the keyframes are {', '.join(map(str, keyframes))}")
