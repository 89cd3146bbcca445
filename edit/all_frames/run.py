"""A recipe carried out on a scene, stage by stage; each stage's result is kept under a digest of all that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import Tensor

from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import fit_identity
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_uint8, write_image
from atlas.storage.own.others import NUMBERED
from atlas.storage.stack import FrameStack
from atlas.storage.stamps import digest
from atlas.system.progress import Progress
from edit.all_frames.agreement import decoded_frame, deflickered
from edit.all_frames.control_stacks import control_stacks
from edit.all_frames.learning import EditedKeyframes, Lessons
from edit.all_frames.sampler import Sampler
from edit.all_frames.scene import Scene
from edit.all_frames.ways import ways_of_finish, ways_of_sample
from edit.diffusion.careful import within_memory
from edit.diffusion.sources import Sources
from edit.recipes.recipe import Finish, Recipe, Sample, Stage, Tune
from edit.tuning.examples import ExampleMaker
from edit.tuning.stored import tuned
from edit.tuning.train import tune

VERSION = 1  # raise it when the same recipe gives other frames: what is cached is then made again


class RecipeRun:
    """Edits all frames of a scene by a recipe. Weights are loaded when something has to be made.

    folder: for what is kept between runs; sheets: for pictures of the steps at which frames are made to agree.
    """

    def __init__(
        self,
        recipe: Recipe,
        scene: Scene,
        sources: Sources,
        prompts: Sequence[str],  # one for each frame
        *,
        seed: int,
        batch: int | None,
        pairs: Path | None,
        folder: Path,
        sheets: Path,
        quiet: bool,
        notes: list[str],
    ) -> None:
        self.recipe, self.scene, self.sources, self.prompts = recipe, scene, sources, prompts
        self.seed, self.batch, self.folder, self.sheets, self.quiet, self.notes = seed, batch, folder, sheets, quiet, notes
        self._begun_from = {stage: _edit_on_frames(scene, stage) for stage in recipe.samples if stage.start.startswith("edit:")}
        self._keyframes = {
            stage: EditedKeyframes.of(scene.clip, scene.layer, stage, pairs)
            for stage in recipe.stages
            if isinstance(stage, Tune)
        }
        self.keys = self._keys()

    @property
    def made(self) -> Path:
        """Folder of the edited frames as the model sees them, 00000.png and so on, once they are all there."""
        return self.folder / self.keys[-1]

    def frames(self) -> Path:
        """Edit all frames, or find them edited; returns the folder of them."""
        if not all((self.made / f"{index:05d}.png").is_file() for index in range(self.scene.frames)):
            model = self.sources.model()
            less = ["a smaller --batch"] * (self.batch != 1) + ["--window"]
            less += ["--tune-with lora:16"] * any(isinstance(s, Tune) and s.how == "full" for s in self.recipe.stages)
            what = f"{self.scene.frames} frames of {self.scene.width}x{self.scene.height}"
            with within_memory(model, self.sources.options, what, less):
                self._make()
        return self.made

    def _make(self) -> None:
        scene, stages = self.scene, self.recipe.stages
        finishes = [stage for stage in stages if isinstance(stage, Finish)]
        with control_stacks(scene, self.sources, self.folder, quiet=self.quiet) as controls:
            latents = self._latents(controls)
        with FrameStack(self.folder / "sampled.bin", scene.shape) as sampled:
            model = self.sources.model()
            for index, latent in enumerate(Progress(latents, desc="decode", unit="frame", quiet=self.quiet, leave=False)):
                sampled[index] = decoded_frame(model, latent, f"frame {index}")
            model.finish()
            if not finishes:
                return self._write(sampled)
            with FrameStack(self.folder / "finished.bin", scene.shape) as finished:
                ways = ways_of_finish(finishes)
                deflickered(ways, sampled, scene, finished, self.folder, self.sources.device, quiet=self.quiet)
                self._write(finished)

    def _latents(self, controls: Sequence[FrameStack]) -> Tensor:
        """Sample and tune, stage after stage; the latents of the last sampling."""
        model, latents, weights = self.sources.model(), None, None
        sampler = Sampler(
            model, self.scene, self.sources, self.prompts, controls, self.seed, self.batch, self.folder, self.sheets, self.quiet
        )
        for stage, key in zip(self.recipe.stages, self.keys, strict=True):
            if isinstance(stage, Tune):
                weights = self._tuned(stage, key, sampler, latents)
            elif isinstance(stage, Sample):
                other = self._begun_from.get(stage)
                if weights is None:
                    latents = sampler.sampled(stage, key, other)
                else:
                    with tuned(model, weights):
                        latents = sampler.sampled(stage, key, other)
        assert latents is not None
        return latents

    def _tuned(self, stage: Tune, key: str, sampler: Sampler, latents: Tensor | None) -> Path:
        """Tune the model, or find what was tuned; the file of it."""
        settings, scene = stage.settings(self.seed), self.scene
        path = self.folder / settings.file_name(key)
        if path.exists():
            return path
        maker = ExampleMaker(sampler.model, self.sources.options.control_scales(), self.sources.image_prompt())
        lessons = Lessons(scene, maker, sampler.controls, self.prompts)
        if stage.on == "fused":
            assert latents is not None
            examples = lessons.of_result(stage, lambda index: decoded_frame(sampler.model, latents[index], f"frame {index}"))
        else:
            examples = lessons.of_clip(stage, self._edited(stage, sampler))
        tune(
            sampler.model,
            examples,
            settings,
            path,
            resume=self.folder / f"tuning-{key}",
            quiet=self.quiet,
            notes=self.notes,
        )
        return path

    def _edited(self, stage: Tune, sampler: Sampler) -> dict[int, np.ndarray]:  # (H, W, 4) each
        """The edited frames that pairs are made of: those that were named, or one that is made now."""
        named, scene = self._keyframes[stage], self.scene
        if named is not None:
            return {index: scene.crops[index].cut(named.image(index)) for index in named.files}
        frame = scene.anchors(1)[0]
        edited = decoded_frame(sampler.model, sampler.one(self._plain(stage), frame), f"frame {frame}")
        write_image(self.sheets / f"tuned-on-{frame:05d}.png", edited)
        return {frame: np.concatenate([edited, np.ones_like(edited[..., :1])], -1)}

    def _plain(self, stage: Tune) -> Sample:
        """How the edited frame is sampled that tuning makes itself: as many steps as the frames will have."""
        return Sample(start="frames", strength=stage.strength, steps=self.recipe.samples[-1].steps)

    def _write(self, frames: FrameStack) -> None:
        with atomic_folder(self.made, NUMBERED) as folder:
            for index in range(len(frames)):
                write_image(folder / f"{index:05d}.png", to_uint8(frames[index]))

    def _keys(self) -> list[str]:
        """For each stage a digest of all that its result is made from, the stages before it included."""
        scene = self.scene
        fit = None if scene.fit is None else fit_identity(scene.clip, scene.fit, scene.layers[0])
        common = self.sources.identity() | {"version": VERSION, "fit": fit, "seed": self.seed, "layer": scene.layer}
        controls = [self.sources.control_identity(index) for index in range(scene.frames)]
        key = digest(common, list(self.prompts), controls, scene.clip.identity())
        keys = []
        for stage in self.recipe.stages:
            key = digest(key, stage.kind, asdict(stage), *self._read_by(stage))
            keys.append(key)
        return keys

    def _read_by(self, stage: Stage) -> list[str]:
        """Digests of what else a stage reads."""
        if isinstance(stage, Tune):
            keyframes = self._keyframes[stage]
            if keyframes is not None:
                return [keyframes.identity()]
            return [digest(asdict(self._plain(stage)))] if stage.on == "clip" else []
        if isinstance(stage, Finish):
            return [digest(way.identity()) for way in ways_of_finish([stage])]
        edit = self._begun_from.get(stage)
        begun = [] if edit is None else [digest(*edit.keyframes(self.scene.layer).values())]
        return begun + [digest(way.identity()) for way in ways_of_sample(stage)]


def _edit_on_frames(scene: Scene, stage: Sample) -> Edit:
    """The edit that sampling starts from; UserError where it has not all frames of the layer."""
    edit = Edit.open(scene.clip, stage.start.partition(":")[2])
    missing = set(range(scene.frames)) - edit.keyframes(scene.layer).keys()
    if missing:
        folder = edit.keyframes_folder(scene.layer)
        raise UserError(
            f"--start {stage.start}: {folder} has no frame {min(missing)}: name an edit --on frames of {scene.layer}"
        )
    return edit
