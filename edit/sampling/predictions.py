"""Predictions of all frames at a step: in batches, jointly in windows, by anchors or along tracks, or in grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from atlas.maps.tracks import Tracks
from edit.diffusion.model import StableDiffusion
from edit.recipes.recipe import Sample, attending
from edit.sampling.attention import FrameAttention
from edit.sampling.conditions import FrameConditions
from edit.sampling.grid import from_grid, grids, to_grid
from edit.sampling.track_attention import Places
from edit.sampling.windows import averaged, windows

_TRACKED_ABOVE = 350  # timesteps: below, frames' own detail is made (FRESCO, CVPR 2024)


class Predictions:
    """Predicts all frames at a step of the scheduler as a recipe wants them to see each other.

    Nothing of other frames enters a prediction but through attention, a grid, or the average of windows; so what a batch
    holds does not matter where frames attend to themselves or to anchors.
    """

    def __init__(
        self,
        model: StableDiffusion,
        conditions: FrameConditions,
        sample: Sample,
        *,
        batch: int,
        attention: FrameAttention,
        anchors: Sequence[int] = (),
        tracks: Tracks | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.conditions, self.sample = model, conditions, sample
        self.batch, self.attention, self.anchors, self.tracks, self.seed = batch, attention, list(anchors), tracks, seed
        self.frames = len(conditions.prompts)

    def __call__(self, latents: Tensor, index: int) -> Tensor:  # (F, C, h, w) -> (F, C, h, w)
        """Predict the frames' latents at step `index`, guided."""
        way = attending(self.sample.attend)[0]
        if way in ("anchors", "track"):
            return self._from_anchors(latents, index)
        if way == "grid":
            return self._in_grids(latents, index)
        spans = windows(self.frames, self.sample.window, self.sample.stride)
        predict = self._jointly if way == "joint" else self._apart
        return averaged(spans, self.sample.blend, latents.shape, lambda span: predict(latents, index, span, len(spans) > 1))

    def _apart(self, latents: Tensor, index: int, span: range, windowed: bool) -> Tensor:
        prompt = self._prompt_of(span) if windowed else None
        return self._batches(span, lambda frames: self._predicted(latents, index, frames, prompt))

    def _jointly(self, latents: Tensor, index: int, span: range, windowed: bool) -> Tensor:
        with self.attention.joint(len(span), self.conditions.halves):
            return self._predicted(latents, index, span, self._prompt_of(span) if windowed else None)

    def _from_anchors(self, latents: Tensor, index: int) -> Tensor:
        result, halves = torch.zeros_like(latents), self.conditions.halves
        tracked = self.tracks is not None and float(self.model.scheduler.timesteps[index]) > _TRACKED_ABOVE
        with self.attention.recording(len(self.anchors), halves, self._places(self.anchors) if tracked else None):
            result[self.anchors] = self._predicted(latents, index, self.anchors)
        others = [frame for frame in range(self.frames) if frame not in self.anchors]
        for frames in _parts(others, self.batch):
            with self.attention.tracked(halves, self._places(frames)) if tracked else self.attention.anchored(halves):
                result[frames] = self._predicted(latents, index, frames)
        return result

    def _in_grids(self, latents: Tensor, index: int) -> Tensor:
        side, result = attending(self.sample.attend)[1] or 1, torch.zeros_like(latents)
        left = set(range(self.frames))
        for frames in grids(self.frames, side, index, self.seed):
            picture = self._placed(to_grid(latents[frames]))
            predicted = self.model.predict_with(self.conditions.grid(frames, side), picture, index)
            for frame, prediction in zip(frames, from_grid(predicted, side).float().cpu(), strict=True):
                if frame in left:  # others fill the last grid: their own came before
                    result[frame] = prediction
                    left.remove(frame)
        return result

    def _batches(self, frames: Sequence[int], predict: Callable[[Sequence[int]], Tensor]) -> Tensor:
        return torch.cat([predict(part) for part in _parts(frames, self.batch)])

    def _predicted(self, latents: Tensor, index: int, frames: Sequence[int], prompt: str | None = None) -> Tensor:
        conditioning = self.conditions.batch(frames, prompt)
        return self.model.predict_with(conditioning, self._placed(latents[list(frames)]), index).float().cpu()

    def _placed(self, latents: Tensor) -> Tensor:
        return latents.to(self.model.device, self.model.dtype)

    def _prompt_of(self, span: range) -> str:
        """The prompt of a window: that of its middle frame."""
        return self.conditions.prompts[span[len(span) // 2]]

    def _places(self, frames: Sequence[int]) -> Places:
        tracks, anchors = self.tracks, self.anchors
        assert tracks is not None

        def places(height: int, width: int) -> tuple[Tensor, Tensor]:
            found = [[tracks.places(frame, anchor, (height, width)) for anchor in anchors] for frame in frames]
            where = torch.stack([torch.stack([place for place, _ in row]) for row in found])
            return where, torch.stack([torch.stack([known for _, known in row]) for row in found])

        return places


def _parts(frames: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (frames[start : start + size] for start in range(0, len(frames), size))
