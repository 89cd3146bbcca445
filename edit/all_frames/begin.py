"""The beginning of sampling: the noise of every frame, and the latents that frames start from."""

from __future__ import annotations

import torch

from atlas.clip.edits import Edit
from edit.all_frames.scene import Scene
from edit.diffusion.denoise import draw, own_generator
from edit.diffusion.model import StableDiffusion
from edit.recipes.recipe import Sample
from edit.sampling.loop import Begin
from edit.sampling.noise import AtlasNoise


def begin_sampling(model: StableDiffusion, scene: Scene, sample: Sample, seed: int, other: Edit | None) -> Begin:
    """Draw the noise of all frames, and encode what they start from: their sources, or the frames of the edit `other`.

    Noise is each frame's own, the same for all, or that of the layers' texels. A frame's generator draws what its encoding
    takes before its noise, as diffusers' image-to-image pipelines do: the first frame gives the same numbers.
    """
    shape = model.latent_shape(scene.height, scene.width)
    moving = AtlasNoise(scene.maps, scene.maps.layers, shape, seed) if sample.noise == "atlas" else None
    noise, generators, known = [], [], []
    for index in range(scene.frames):
        generator = own_generator(seed, index, is_first=index == 0 or sample.noise == "fixed")
        if sample.start != "noise":
            image = scene.source(index) if other is None else scene.edited(other, index)
            known.append(model.encode(image, generator).float().cpu())
        noise.append(draw(shape, generator) if moving is None else moving.frame(index).cpu())
        generators.append(generator)
    return Begin(torch.cat(noise), generators, torch.cat(known) if known else None, sample.strength if known else 1.0)
