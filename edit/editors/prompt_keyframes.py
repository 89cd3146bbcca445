"""Keyframes by a prompt: Stable Diffusion under ControlNet, each keyframe in the light of the earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from atlas.errors import UserError
from atlas.maps.maps import fit_identity
from atlas.storage.images import read_image, to_float, to_uint8, write_image
from atlas.storage.stamps import digest
from atlas.system.progress import Bar
from edit.controls.steady import steadied_keyframes
from edit.diffusion.careful import made_carefully
from edit.diffusion.crop import Crop, resized
from edit.diffusion.denoise import denoise
from edit.diffusion.model import StableDiffusion
from edit.diffusion.sources import Sources
from edit.editors.prompt import PromptOptions
from edit.editors.protocol import FittedLayer, Keyframe, KeyframeEditor, cut_out
from edit.request.prompting import STEADIED
from edit.strategies import STRATEGIES
from edit.strategies.accumulated import Accumulated
from edit.strategies.protocol import Propagated, View

VERSION = 1  # raise it when the same request gives another picture: what is cached is then made again
_OF_LATER_KEYFRAMES = ("strategy", "strength", "hold")  # what the first keyframe does not depend on


@dataclass
class _Done:
    """What the keyframes edited so far left behind."""

    indices: list[int] = field(default_factory=list)
    made: np.ndarray | None = None
    """The crop made last, as the model sees it, (h, w, 3) float32."""
    waiting: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """Keyframes that are not in the atlas yet: they go there when a further keyframe asks for it."""


class PromptKeyframes(KeyframeEditor):
    """Edits keyframes in the order of `order`, each in the light of the earlier ones.

    What is made is kept in the layer's cache under a digest of all that it was made from; weights are loaded when something
    is missing.
    """

    holds_fit = is_slow = True

    def __init__(
        self,
        options: PromptOptions,
        layer: FittedLayer,
        sources: Sources,
        order: list[int],
        denoise: Callable[..., Tensor] = denoise,
    ) -> None:
        self.options, self.layer, self.sources, self.order = options, layer, sources, order
        self.denoise = denoise
        self.notes: list[str] = []
        self.keys = self._keys()
        self._crops: dict[int, Crop] = {}
        self._done, self._accumulated = _Done(), Accumulated(layer.maps, layer.name, sources.device)

    def fingerprint(self) -> str:
        """Digest of all keyframes' keys."""
        return digest([self.keys[index] for index in self.keyframes])

    def missing(self) -> list[int]:
        """Keyframes that have to be made."""
        return [index for index in self.order if not self._cached(index).is_file()]

    def check(self) -> None:
        """UserError where weights, prompts or a keyframe cannot be used; loads the weights where something has to be made."""
        missing = self.missing()
        if not missing:
            return
        self.sources.check({self._prompt(index) for index in missing})
        for index in self.order:
            self._crop(index)

    def edit(self, keyframe: Keyframe) -> np.ndarray:
        """The edited frame as (H, W, 4) float32; alpha 0 away from the crop."""
        index, done = keyframe.index, self._done
        path = self._cached(index)
        if not path.is_file():
            write_image(path, to_uint8(self._made(keyframe)))
        made = to_float(read_image(path, mode="rgb"))
        crop = self._crop_of(index, made.shape[:2])
        edited = crop.paste(made, keyframe.frame)
        # What later keyframes see is what is saved, so that it does not matter whether it came from the cache.
        done.waiting.append((index, to_float(to_uint8(cut_out(keyframe, edited)))))
        done.indices.append(index)
        done.made = made
        return edited

    def _made(self, keyframe: Keyframe) -> np.ndarray:
        """What the model makes of the keyframe's crop, (h, w, 3)."""
        options, index = self.options, keyframe.index
        model, crop = self.sources.model(), self._crop(index)
        controls = self._steady_controls[index] if options.steady_controls else self._controls(index)
        model.condition(
            self._prompt(index),
            options.negative,
            controls,
            options.control_scales(),
            options.keyframe_guidance(),
            self.sources.image_prompt(),
        )
        strategy = STRATEGIES[options.keyframe_strategy()]()

        def make() -> Tensor:
            bar = Bar(total=options.keyframe_steps(), desc=f"  keyframe {index}", unit="step", leave=False, quiet=options.quiet)
            with bar:
                start = strategy.start(self._view(model, crop, index))
                return self.denoise(model, start, steps=options.keyframe_steps(), on_step=bar.update)

        return made_carefully(model, make, options, f"keyframe {index} at {crop.width}x{crop.height}", self.notes)

    def _controls(self, index: int) -> list[np.ndarray]:
        """The control images of a keyframe's crop, each (h, w, 3) uint8."""
        crop = self._crop(index)
        return self.sources.controls(crop.cut(self.layer.clip.frame(index)), crop, index)

    @cached_property
    def _steady_controls(self) -> dict[int, list[np.ndarray]]:
        """The control images of all keyframes, those that can be steadied in agreement through the atlas."""
        by_kind = [list(images) for images in zip(*(self._controls(index) for index in self.keyframes), strict=True)]
        boxes, layer = [self._crop(index).box for index in self.keyframes], self.layer
        for number, kind in enumerate(self.options.control):
            if kind in STEADIED:
                by_kind[number] = steadied_keyframes(
                    by_kind[number],
                    self.keyframes,
                    boxes,
                    layer.maps,
                    kind,
                    layer.clip.frame,
                    layer.cache,
                    device=self.sources.device,
                )
        return dict(zip(self.keyframes, (list(images) for images in zip(*by_kind, strict=True)), strict=True))

    def _view(self, model: StableDiffusion, crop: Crop, index: int) -> View:
        first, options = self._crop(self.order[0]), self.options
        return View(
            index=index,
            seed=options.seed,
            position=self.order.index(index),
            shape=model.latent_shape(crop.height, crop.width),
            first_shape=model.latent_shape(first.height, first.width),
            strength=options.keyframe_strength(),
            hold=options.hold,
            encode=lambda image, generator: model.encode(resized(image, crop.height, crop.width), generator),
            previous=self._previous,
            propagated=lambda: self._propagated(crop, index),
        )

    def _previous(self) -> np.ndarray:
        assert self._done.made is not None
        return self._done.made

    def _propagated(self, crop: Crop, index: int) -> Propagated:
        for earlier, image in self._done.waiting:
            self._accumulated.add(earlier, image)
        self._done.waiting.clear()
        colour, coverage = self._accumulated.view(index)
        opacity = self.layer.maps.opacity(self.layer.name, index)
        return Propagated(crop.cut(colour), crop.cut(coverage), crop.cut(opacity))

    def _crop(self, index: int) -> Crop:
        if index not in self._crops:
            size = self.options.resolution or self.sources.model().size
            crop = Crop.around(self.layer.maps.opacity(self.layer.name, index), size)
            if crop is None:
                raise UserError(f"the layer {self.layer.name!r} is not seen in frame {index}: choose other --keyframes")
            self._crops[index] = crop
        return self._crops[index]

    def _crop_of(self, index: int, size: tuple[int, int]) -> Crop:
        """The crop that an image of `size` was made from: a cached one is placed without loading weights."""
        crop = Crop.around(self.layer.maps.opacity(self.layer.name, index), min(size))
        assert crop is not None
        return Crop(crop.top, crop.left, crop.bottom, crop.right, *size)

    def _prompt(self, index: int) -> str:
        return self.options.keyframe_prompts().get(index) or (self.options.prompt or "").strip()

    def _cached(self, index: int) -> Path:
        return self.layer.cache / f"{self.keys[index]}.png"

    def _keys(self) -> dict[int, str]:
        """For each keyframe a digest of all that it is made from, earlier keyframes included where they count."""
        identity = fit_identity(self.layer.clip, self.layer.maps, self.layer.name)
        common = self.sources.identity() | {"version": VERSION, "fit": identity, "seed": self.options.seed}
        keys: dict[int, str] = {}
        if self.options.steady_controls:  # each is made in the light of all of them
            identities = [[index, self.sources.control_identity(index)] for index in self.keyframes]
            common["controls"] = digest(identities, *map(self.layer.clip.frame_path, self.keyframes))
        depends_on = STRATEGIES[self.options.keyframe_strategy()]().depends_on
        for index in self.order:
            chosen = dict(common)
            if index == self.order[0]:
                chosen = {name: value for name, value in common.items() if name not in _OF_LATER_KEYFRAMES}
            else:
                earlier = list(keys.values())
                chosen["earlier"] = {"all": earlier, "last": earlier[-1:], "first": self.order[:1], "none": []}[depends_on]
            own = [index, self._prompt(index), self.sources.control_identity(index)]
            keys[index] = digest(chosen, own, self.layer.clip.frame_path(index))
        return keys
