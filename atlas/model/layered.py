"""LayeredAtlas: N layers, each an atlas image seen through a mapping, an opacity and a light, composited front to back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from atlas.geometry.warp import composite, sample, visible_opacities
from atlas.model.fields import Light, Mapping, NetworkConfig, Opacity


@dataclass(frozen=True)
class Shape:
    """What a model's buffers are shaped by: enough to build an empty one and load a checkpoint into it."""

    layers: tuple[str, ...]
    """Front to back."""
    frames: int
    height: int
    width: int
    offset_grid: tuple[int, int]
    light_grid: tuple[int, int]
    atlas_sizes: tuple[int, ...]
    """Side of each layer's square atlas, in texels."""


@dataclass
class View:
    """What a model gives at some points, by layer in the model's order."""

    uv: Tensor  # (layers, N, 2)
    opacity: Tensor  # (layers, N) visible, summing to 1
    object_opacity: Tensor  # (objects, N) each object's own
    light: Tensor  # (layers, N, 3)
    layer_colour: Tensor  # (layers, N, 3)
    colour: Tensor  # (N, 3)


class LayeredAtlas(nn.Module):
    """Layers front to back, the last of which is opaque.

    Atlases are images, solved in closed form (`atlas.fitting.solve`), not learned by gradient steps; they are
    buffers of the module. Mappings, opacities and offsets learn.
    """

    mappings: Sequence[Mapping]
    opacities: Sequence[Opacity]
    lights: Sequence[Light]

    def __init__(self, shape: Shape, mapping: NetworkConfig, opacity: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape
        longer = max(shape.height, shape.width)
        self.extent = (shape.width / longer, shape.height / longer)
        base = torch.eye(3).repeat(shape.frames, 1, 1)
        offset = torch.zeros(2, shape.frames, *shape.offset_grid)
        gain = torch.zeros(3, shape.frames, *shape.light_grid)
        mappings = [Mapping(base.clone(), offset.clone(), self.extent, mapping, generator) for _ in shape.layers]
        self.mappings = cast(Sequence[Mapping], nn.ModuleList(mappings))
        opacities = [Opacity(opacity, generator) for _ in shape.layers[:-1]]
        self.opacities = cast(Sequence[Opacity], nn.ModuleList(opacities))
        lights = [Light(gain.clone(), self.extent) for _ in shape.layers]
        self.lights = cast(Sequence[Light], nn.ModuleList(lights))
        for layer, size in enumerate(shape.atlas_sizes):
            self.register_buffer(f"atlas_{layer}", torch.zeros(size, size, 3))
            self.register_buffer(f"coverage_{layer}", torch.zeros(size, size))

    def atlas(self, layer: int) -> Tensor:  # (N, N, 3)
        """Light-free colours of a layer."""
        return self.get_buffer(f"atlas_{layer}")

    def coverage(self, layer: int) -> Tensor:  # (N, N)
        """How often each texel of a layer was seen, in pixels."""
        return self.get_buffer(f"coverage_{layer}")

    def forward(self, xyt: Tensor, depth: Tensor) -> View:
        """Evaluate at `xyt` (N, 3); `depth` (objects, N) is the signed distance into each object's mask."""
        uv = torch.stack([mapping(xyt) for mapping in self.mappings])
        own = torch.stack([opacity(xyt, d) for opacity, d in zip(self.opacities, depth, strict=True)])
        light = torch.stack([light(xyt) for light in self.lights])
        visible = visible_opacities(own)
        colours = torch.stack([sample(self.atlas(i), uv[i]) for i in range(len(uv))]) * light
        return View(uv, visible, own, light, colours, composite(colours, visible))

    @torch.no_grad()
    def frame_maps(
        self,
        index: int,
        depth: Tensor,  # (objects, H, W)
    ) -> tuple[Tensor, Tensor]:  # uv (layers, H, W, 2), visible opacity (layers, H, W)
        """Maps of one frame at the size of `depth`, which need not be the clip's own: the fields are continuous.

        `depth` is in pixels of the clip's own size. In larger frames outlines are as sharp, counted in their pixels.
        """
        height, width = depth.shape[1:]
        uv = torch.stack([mapping.at_frame(index, height, width) for mapping in self.mappings]).clamp(-1, 1)
        own = torch.stack([f.at_frame(index, self.shape.frames, d) for f, d in zip(self.opacities, depth, strict=True)])
        if width > self.shape.width:
            own = torch.sigmoid(torch.logit(own) * sharpening(depth, width / self.shape.width))
        return uv, visible_opacities(own)


def sharpening(
    depth: Tensor,  # (objects, H, W), in pixels of the clip's own size
    scale: float,  # how many times larger than these pixels those of the frame are counted
) -> Tensor:  # (objects, H, W), in [1, scale]
    """Factor of an opacity's slope in a frame `scale` times as large: `scale` at the outline of a mask, where depth
    changes by a pixel per pixel; nearly 1 in a soft matte (hair), where it changes slowly and transparency is meant.
    """
    down, right = torch.gradient(F.pad(depth[None], (1, 1, 1, 1), mode="replicate")[0], dim=(1, 2))
    slope = torch.hypot(down, right)[:, 1:-1, 1:-1] * scale
    return 1 + (scale - 1) * slope.clamp(0, 1)
