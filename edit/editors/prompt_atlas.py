"""A layer's atlas by a prompt: the picture itself is edited, tile by tile where it is larger than the model's size."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.geometry.filling import push_pull
from atlas.maps.maps import fit_identity
from atlas.storage.images import read_image, to_16_bit, to_float, to_uint8, to_uint16, write_image
from atlas.storage.pictures import WantedSize
from atlas.storage.stamps import digest
from atlas.system.progress import Bar
from atlas.system.terminal import visible
from edit.diffusion.careful import made_carefully
from edit.diffusion.crop import Crop
from edit.diffusion.denoise import Denoiser, Start, denoise, draw
from edit.diffusion.model import StableDiffusion
from edit.diffusion.sources import Sources
from edit.diffusion.tiles import Tiled
from edit.editors.painted import paired
from edit.editors.prompt import PromptOptions
from edit.editors.protocol import AtlasEditor, FittedLayer

VERSION = 2  # raise it when the same request gives another picture
_OF_KEYFRAMES = ("strategy", "hold")  # what an atlas that is edited itself does not depend on
_ONE_TILE = 1.25  # times the model's own size: a picture that large is still seen at once, a little smaller


class PromptAtlas(AtlasEditor):
    """Edits the atlas of a layer; what is made is kept in the layer's cache under a digest of all that it was made from."""

    holds_fit = True

    def __init__(self, options: PromptOptions, layer: FittedLayer, sources: Sources) -> None:
        self.options, self.layer, self.sources = options, layer, sources
        self.notes: list[str] = []
        size = layer.maps.atlas_size(layer.name)
        sources.open_atlas_control(WantedSize(*size, "the atlas is", "make it that size"))
        self.key = digest(
            {name: value for name, value in sources.identity().items() if name not in _OF_KEYFRAMES}
            | {"version": VERSION, "seed": options.seed, "prompt": options.prompt},
            fit_identity(layer.clip, layer.maps, layer.name),
            sources.control_identity(None),
        )

    def fingerprint(self) -> str:
        """Digest of all that it is made from."""
        return self.key

    def check(self) -> None:
        """UserError where weights or prompts cannot be used; loads the weights where the picture has to be made."""
        if not self._path.is_file():
            self.sources.check([(self.options.prompt or "").strip()])

    def edit(self) -> tuple[np.ndarray, np.ndarray]:  # (N, N, 4) uint16 both
        """The edited atlas, and the fit's own that it is compared with."""
        maps, layer = self.layer.maps, self.layer.name
        atlas = maps.atlas(layer)
        reference = to_16_bit(read_image(maps.atlas_path(layer), mode="rgba"))
        if not self._path.is_file():
            write_image(self._path, to_uint8(self._made(atlas)))
        made = to_float(read_image(self._path, mode="rgb"))
        box = Crop.around(atlas[..., 3], min(made.shape[:2]))
        assert box is not None
        pasted = Crop(box.top, box.left, box.bottom, box.right, *made.shape[:2]).paste(made, atlas[..., :3])
        painted = to_uint16(np.concatenate([pasted[..., :3], pasted[..., 3:] * atlas[..., 3:]], -1))
        return paired(painted, reference), reference

    @property
    def _path(self) -> Path:
        return self.layer.cache / f"{self.key}.png"

    def _made(self, atlas: np.ndarray) -> np.ndarray:
        options, model = self.options, self.sources.model()
        tile = options.resolution or model.size
        crop = working_crop(atlas[..., 3], tile)
        colours, seen = torch.from_numpy(np.ascontiguousarray(atlas)).split([3, 1], -1)
        picture = crop.cut(push_pull(colours, seen[..., 0]).numpy())
        denoiser = self._denoiser(model, crop, tile)
        controls = self.sources.controls(to_uint8(picture), crop, None)
        at_once = (min(crop.height, tile), min(crop.width, tile)) if isinstance(denoiser, Tiled) else None
        model.condition(
            (options.prompt or "").strip(),
            options.negative,
            controls,
            options.control_scales(),
            options.keyframe_guidance(),
            self.sources.image_prompt(),
            at_once,
        )
        strength = 1.0 if options.strength is None else options.strength
        steps = Bar(total=options.keyframe_steps(), desc=visible(f"edit {self.layer.name}"), unit="step", quiet=options.quiet)

        def make() -> Tensor:
            steps.restart()
            generator = torch.Generator().manual_seed(options.seed)
            known = model.encode(picture, generator) if strength < 1 else None
            noise = draw(model.latent_shape(crop.height, crop.width), generator)
            return denoise(
                denoiser, Start(noise, generator, known, None, strength), steps=options.keyframe_steps(), on_step=steps.update
            )

        tiles = model.tiled_decoding() if isinstance(denoiser, Tiled) else contextlib.nullcontext()
        with steps, tiles:
            return made_carefully(model, make, options, f"the atlas at {crop.width}x{crop.height}", self.notes)

    def _denoiser(self, model: StableDiffusion, crop: Crop, tile: int) -> Denoiser:
        if max(crop.height, crop.width) <= 2 * tile and min(crop.height, crop.width) <= tile:
            return model
        return Tiled(model, crop.height, crop.width, tile)


def working_crop(
    seen: np.ndarray,  # (N, N) where the layer was ever seen
    tile: int,
) -> Crop:
    """The part of an atlas that is edited: at the model's size where that is about enough, else texel by texel."""
    crop = Crop.around(seen, tile)
    if crop is None:
        raise UserError("the atlas is empty: the layer was never visible")
    height, width = crop.bottom - crop.top, crop.right - crop.left
    if min(height, width) <= _ONE_TILE * tile:
        return crop
    return Crop(crop.top, crop.left, crop.bottom, crop.right, *(round(side / 64) * 64 for side in (height, width)))
