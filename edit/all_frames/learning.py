"""Tuning as a stage of a recipe: what the model learns of a clip, gathered, and where the result is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.errors import UserError
from atlas.storage.images import to_float, to_uint8
from atlas.storage.stack import FrameStack
from atlas.storage.stamps import digest
from atlas.video.numbered import NumberedImages
from edit.all_frames.scene import Scene
from edit.recipes.recipe import Tune
from edit.tuning.examples import Example, ExampleMaker
from edit.tuning.pairs import EditedViews, foreground, training_frames


@dataclass(frozen=True)
class EditedKeyframes:
    """Edited frames that pairs are made of: from a folder, or from another edit of the clip."""

    clip: Clip
    files: dict[int, Path]

    @classmethod
    def of(cls, clip: Clip, layer: str, tune: Tune, folder: Path | None) -> EditedKeyframes | None:
        """Find the edited frames that a stage of tuning names; None where it makes one itself, or learns no pairs.

        UserError where there are none, or one is no frame of the clip or has another size.
        """
        kind, _, name = tune.on.partition(":")
        if kind == "edit":
            edit = Edit.open(clip, name)
            files, where = edit.keyframes(layer), edit.keyframes_folder(layer)
            if not files:
                raise UserError(f"--tune {tune.on}: {where} holds no keyframes of {layer} to learn from: name another edit")
        elif kind == "clip" and folder is not None:
            files, where = NumberedImages(folder, clip.width, clip.height, "--pairs").files, folder
        else:
            return None
        if past := [index for index in files if index >= clip.frames]:
            raise UserError(f"{where} has an edit of frame {past[0]}, the clip has frames 0 to {clip.frames - 1}: remove it")
        found = cls(clip, files)
        for index in files:
            found.image(index)
        return found

    def image(self, index: int) -> np.ndarray:  # (H, W, 4) float32
        """The edited frame, alpha = where the edit applies."""
        return to_float(read_keyframe(self.files[index], self.clip, index))

    def identity(self) -> str:
        """Digest of all files."""
        return digest(list(self.files), *self.files.values())


@dataclass(frozen=True)
class Lessons:
    """Makes the examples that a stage of tuning learns from."""

    scene: Scene
    maker: ExampleMaker
    controls: Sequence[FrameStack]
    prompts: Sequence[str]

    def of_clip(self, tune: Tune, edited: dict[int, np.ndarray]) -> list[Example]:
        """The clip's own frames without a prompt, and with it pairs of a frame and its edit, (H, W, 4) at the model's size."""
        scene = self.scene
        pairs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        if tune.pairs > 1:
            views = EditedViews(scene.maps, scene.layers)
            for index, image in edited.items():
                views.add(index, image[..., :3], image[..., 3])
            wanted = training_frames(scene.frames, tune.pairs)
            pairs = {pair.frame: (pair.edited, pair.covered) for pair in views.pairs(wanted, scene.source)}
        else:
            pairs = {index: (image[..., :3], image[..., 3]) for index, image in edited.items()}
        examples = [
            self.maker.unconditional(scene.source(index), self._controls(index)) for index in training_frames(scene.frames)
        ]
        return examples + [
            self.maker.pair(scene.source(index), image, self.prompts[index], self._controls(index), covered)
            for index, (image, covered) in pairs.items()
        ]

    def of_result(self, tune: Tune, frame: Callable[[int], np.ndarray]) -> list[Example]:
        """Sampled frames, (H, W, 3) float32, with their prompts, and where their foreground is."""
        return [
            self.maker.result(
                frame(index),
                self.prompts[index],
                self._controls(index),
                foreground(self.scene.maps, index) if tune.masks else None,
            )
            for index in training_frames(self.scene.frames)
        ]

    def _controls(self, index: int) -> list[np.ndarray]:
        return [to_uint8(stack[index]) for stack in self.controls]
