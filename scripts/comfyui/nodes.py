"""Nodes as ComfyUI takes them: plain classes that say what they take and give, and a function each.

What a node returns is made again by ComfyUI only where its inputs have changed; the stages do the same by their stamps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import aggregate as merging
import atlas
import edit as editing
from atlas.errors import UserError
from atlas.maps.coverage import visibility
from atlas.storage.images import to_float, to_uint8
from edit.request.keyframes import chosen, named

FIT = "LAYERED_ATLAS_FIT"
"""The type of what only these nodes pass to each other: a finished fit."""
_LAYER = ("STRING", {"default": "foreground"})


class Node:
    """What all nodes share."""

    CATEGORY = "layered atlas"
    FUNCTION = "run"
    TITLE: ClassVar[str] = ""
    RETURN_TYPES: tuple[str, ...] = ()
    RETURN_NAMES: tuple[str, ...] = ()


class FitClip(Node):
    """Decompose a clip into layers."""

    TITLE = "Fit clip"
    RETURN_TYPES, RETURN_NAMES = (FIT,), ("fit",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (ComfyUI's name)
        """The inputs, as ComfyUI asks for them."""
        presets = (["preview", "standard", "best"], {"default": "preview"})
        folder = ("STRING", {"default": "clips/clip"})
        return {"required": {"images": ("IMAGE",), "masks": ("MASK",), "folder": folder, "preset": presets}}

    def run(self, images: Tensor, masks: Tensor, folder: str, preset: str) -> tuple[atlas.Fit]:
        """Prepare a clip of images, (T, H, W, 3), and masks of what moves, (T, H, W), in a folder, and fit it."""
        if images.shape[0] < 2 or tuple(masks.shape) != tuple(images.shape[:3]):
            raise UserError(
                f"the images are {_sized(images)}, the masks of shape {tuple(masks.shape)}: give two images or more, and a mask"
                " of the same size for each"
            )
        clip = atlas.prepare(_bytes(images), folder, masks=_bytes(masks), max_side=max(images.shape[1:3]))
        return (atlas.fit(clip, preset=preset),)


class AtlasOfLayer(Node):
    """Show the atlas of a layer, to edit it."""

    TITLE = "Atlas of layer"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK"), ("atlas", "seen")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """The inputs, as ComfyUI asks for them."""
        return {"required": {"fit": (FIT,), "layer": _LAYER}}

    def run(self, fit: atlas.Fit, layer: str) -> tuple[Tensor, Tensor]:
        """The atlas, (1, N, N, 3), and where the layer was ever seen, (1, N, N)."""
        image = torch.from_numpy(fit.atlas(layer))[None]
        return image[..., :3].contiguous(), image[..., 3].contiguous()


class Keyframes(Node):
    """Choose keyframes of a layer, to edit them."""

    TITLE = "Keyframes of layer"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "MASK", "STRING"), ("images", "opacity", "numbers")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """The inputs, as ComfyUI asks for them."""
        return {"required": {"fit": (FIT,), "layer": _LAYER, "keyframes": ("STRING", {"default": "auto:3"})}}

    def run(self, fit: atlas.Fit, layer: str, keyframes: str) -> tuple[Tensor, Tensor, str]:
        """Frames that see most of a layer, or those that are named: images, the layer's opacity, and their numbers."""
        fit.maps.check_layer(layer)
        numbers = named(keyframes, fit.clip.frames) or sorted(chosen(keyframes, visibility(fit.maps, layer)))
        images = _images(fit.clip.frame(number) for number in numbers)
        opacity = np.stack([fit.opacity(layer, number) for number in numbers])
        return images, torch.from_numpy(opacity), ",".join(map(str, numbers))


class ApplyAtlas(Node):
    """Render the clip with an edited atlas."""

    TITLE = "Apply atlas"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """The inputs, as ComfyUI asks for them."""
        return {
            "required": {"fit": (FIT,), "layer": _LAYER, "atlas_image": ("IMAGE",), "name": ("STRING", {"default": "atlas"})}
        }

    def run(self, fit: atlas.Fit, layer: str, atlas_image: Tensor, name: str) -> tuple[Tensor]:
        """All frames, (T, H, W, 3), with an edited atlas, (1, N, N, 3), as an edit of this name."""
        original = fit.atlas(layer)
        if tuple(atlas_image.shape) != (1, *original.shape[:2], 3):
            size = original.shape[0]
            raise UserError(f"the atlas of {layer} has {size}x{size} texels, the image is {_sized(atlas_image)}: scale it back")
        painted = np.concatenate([atlas_image[0].cpu().float().clamp(0, 1).numpy(), original[..., 3:]], -1)
        edited = editing.edit(fit.clip, name, layer=layer, fit=fit.name, editor="atlas", image=painted)
        return (_images(edited),)


class ApplyKeyframes(Node):
    """Merge edited keyframes into the layer's atlas, and render the clip with it."""

    TITLE = "Apply keyframes"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        """The inputs, as ComfyUI asks for them."""
        methods = (["network", "mean", "median"], {"default": "network"})
        texts = {"numbers": ("STRING", {"forceInput": True}), "name": ("STRING", {"default": "keyframes"})}
        return {"required": {"fit": (FIT,), "layer": _LAYER, "images": ("IMAGE",), **texts, "method": methods}}

    def run(self, fit: atlas.Fit, layer: str, images: Tensor, numbers: str, name: str, method: str) -> tuple[Tensor]:
        """All frames, (T, H, W, 3), with edited keyframes, (K, H, W, 3), of these numbers, as an edit of this name."""
        frames = named(numbers, fit.clip.frames) or []
        size = (fit.clip.height, fit.clip.width)
        if tuple(images.shape) != (len(frames), *size, 3):
            raise UserError(
                f"keyframes {numbers} are {len(frames)} of {size[1]}x{size[0]}, these images {_sized(images)}: scale them back"
            )
        pictures = dict(zip(frames, _bytes(images), strict=True))
        edited = editing.edit(fit.clip, name, layer=layer, fit=fit.name, editor="images", images=pictures)
        return (_images(merging.aggregate(edited, method=method)),)


NODES: tuple[type[Any], ...] = (FitClip, AtlasOfLayer, Keyframes, ApplyAtlas, ApplyKeyframes)


def _bytes(images: Tensor) -> np.ndarray:
    """Values in [0, 1] as uint8."""
    return to_uint8(images.cpu().float().numpy())


def _images(frames: Iterable[np.ndarray]) -> Tensor:
    """Frames, each (H, W, 3) uint8, as ComfyUI has them, (T, H, W, 3) float in [0, 1]."""
    return torch.from_numpy(to_float(np.stack(list(frames))))


def _sized(images: Tensor) -> str:
    return f"{images.shape[0]} of {images.shape[2]}x{images.shape[1]}"
