"""Sampling as a stage of a recipe: from a beginning, under control images, with agreement, to the latents of all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from atlas.clip.edits import Edit
from atlas.maps.tracks import Tracks
from atlas.storage.own.others import remove_ours
from atlas.storage.run_state import STATE
from atlas.storage.stack import FrameStack
from atlas.storage.tensors import load_tensors, save_tensors
from atlas.system.progress import Bar
from edit.all_frames.agreement import Agreement
from edit.all_frames.begin import begin_sampling
from edit.all_frames.scene import Scene
from edit.all_frames.ways import ways_of_sample
from edit.diffusion.denoise import draw, own_generator
from edit.diffusion.model import StableDiffusion
from edit.diffusion.sources import Sources
from edit.recipes.recipe import Sample, attending, steps_at
from edit.sampling.attention import FrameAttention
from edit.sampling.conditions import FrameConditions
from edit.sampling.fusion import Fusion
from edit.sampling.loop import Agree, Begin, denoise_frames
from edit.sampling.predictions import Predictions
from edit.sampling.state import LoopState

_ON_A_GPU = 8  # frames that go through the networks at once where nothing is said


@dataclass(frozen=True)
class Sampler:
    """Samples all frames of a scene, as stages of a recipe ask for it."""

    model: StableDiffusion
    scene: Scene
    sources: Sources
    prompts: Sequence[str]
    """One for each frame."""
    controls: Sequence[FrameStack]
    seed: int
    batch: int | None
    folder: Path
    """For what is kept between runs."""
    sheets: Path
    """For a sheet of each step at which frames are made to agree."""
    quiet: bool

    def sampled(self, sample: Sample, key: str, other: Edit | None) -> Tensor:  # (F, C, h, w)
        """Sample all frames, or read the latents that an earlier run kept under `key`; a killed one is taken up.

        other: the edit that frames start from, where the stage says so.
        """
        kept = self.folder / f"latents-{key}.safetensors"
        if kept.is_file():
            return load_tensors(kept)[0]["latents"]
        state = LoopState(self.folder / f"state-{key}", key)
        latents = self._denoised(sample, begin_sampling(self.model, self.scene, sample, self.seed, other), None, state)
        save_tensors(kept, {"latents": latents}, {"key": key})
        remove_ours(state.folder, STATE)
        return latents

    def one(self, sample: Sample, frame: int) -> Tensor:  # (C, h, w)
        """Sample a single frame from itself, for itself."""
        generator = own_generator(self.seed, frame, is_first=True)
        known = self.model.encode(self.scene.source(frame), generator).float().cpu()
        noise = draw(self.model.latent_shape(self.scene.height, self.scene.width), generator)
        return self._denoised(sample, Begin(noise, [generator], known, sample.strength), [frame], None)[0]

    def _denoised(self, sample: Sample, begin: Begin, frames: list[int] | None, state: LoopState | None) -> Tensor:
        options, shape = self.sources.options, self.model.latent_shape(self.scene.height, self.scene.width)
        conditions = FrameConditions(
            self.model,
            self.prompts if frames is None else [self.prompts[frame] for frame in frames],
            options.negative,
            sample.guidance,
            self.controls,
            options.control_scales(),
            self.sources.image_prompt(),
            frames,
        )
        way, number = attending(sample.attend)
        tracks = Tracks(self.scene.maps, self.scene.layers, device=self.model.device) if way == "track" else None
        tracked = shape[1:] if tracks else None
        with (
            FrameAttention(self.model.pipeline, control=sample.attend_control, latent_size=tracked) as attention,
            Bar(desc="sample", unit="step", quiet=self.quiet) as progress,
        ):
            predict = Predictions(
                self.model,
                conditions,
                sample,
                batch=self.batch or (1 if self.model.device.type == "cpu" else _ON_A_GPU),
                attention=attention,
                anchors=self.scene.anchors(number) if way in ("anchors", "track") else (),
                tracks=tracks,
                seed=self.seed,
            )

            def shown(done: int, total: int) -> None:
                self.model.begin(len(self.model.scheduler.timesteps) - total)
                progress.plan(total)
                progress.update(done - progress.n)

            return denoise_frames(
                self.model.scheduler,
                begin,
                predict,
                steps=sample.steps,
                agree=self._agreement(sample),
                agree_at=lambda times: steps_at(sample.agree_at, times),
                state=state,
                on_step=shown,
            )

    def _agreement(self, sample: Sample) -> Agree | None:
        if sample.agree == "none":
            return None
        if sample.agree == "fusion":
            return Fusion(self.scene.foreground)
        return Agreement(
            self.model,
            self.scene,
            ways_of_sample(sample),
            sample.agree_form,
            self.folder,
            self.sheets,
            quiet=True,
        )
