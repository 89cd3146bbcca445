"""Colour changes of a layer: its colour table, corrections from place to place, how far both apply, and the edit's matte.

An edit is a change of colour plus a texture. The change is a function of the frame's own pixels, so grain, glints, blur and
what no keyframe saw are changed as the edit changed their like; only what it does not explain goes through the atlas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from atlas.errors import AGGREGATE, UserError
from atlas.geometry.texture import Texture
from atlas.maps.keyframes import DARKEST
from atlas.maps.layer_view import FramePart
from atlas.recolour.grid import SHAPE, BilateralGrid
from atlas.recolour.matte import MASKS, OPACITIES, Matte
from atlas.recolour.table import NODES, ColourTable
from atlas.storage.tensors import load_tensors, save_tensors

_LARGEST = 1024  # texels along the map of shares


@dataclass(frozen=True)
class ColourChange:
    """What an edit does to the colours of its layer."""

    table: ColourTable
    grid: BilateralGrid | None
    share: np.ndarray
    """(h, w) float32 in [0, 1] over the atlas: how far the change applies; 0 is exact."""
    matte: Matte | None = None
    """How far it reaches over outlines; None: as far as the layer's opacity."""
    unlit: bool = False
    """Whether it changes the colours without the layer's light, which is put back after it: a material, not a picture."""

    def whole(
        self,
        colours: list[Tensor],  # planes (h, w)
        uv: Tensor,  # (h, w, 2)
        light: Sequence[Tensor] = (),  # planes (h, w); none for 1
    ) -> list[Tensor]:  # planes (h, w)
        """Change colours as if it applied everywhere."""
        if not self.unlit or not light:
            return [plane.clamp_(0, 1) for plane in self.unbounded(colours, uv)]
        gains = [plane.clamp(min=DARKEST) for plane in light]
        changed = self.unbounded([colour / gain for colour, gain in zip(colours, gains, strict=True)], uv)
        return [(colour * gain).clamp(0, 1) for colour, gain in zip(changed, gains, strict=True)]

    def unbounded(
        self,
        colours: list[Tensor],  # planes (h, w)
        uv: Tensor,  # (h, w, 2)
    ) -> list[Tensor]:  # planes (h, w)
        """Change colours as they are, with light or without it, and do not clip what comes out."""
        changed = self.table.at(colours)
        if self.grid is not None:
            changed = [plane + more for plane, more in zip(changed, self.grid.at(colours, uv), strict=True)]
        return changed

    def of_colours(
        self,
        colours: Tensor,  # (h, w, 4) of red, green, blue and one of no meaning
        uv: Tensor,  # (h, w, 2)
        light: Tensor | None,  # (h, w, 4)
    ) -> Tensor:  # (h, w, 4)
        """Change colours as `whole` does, channels side by side."""
        planes = self.whole(list(colours.unbind(-1)[:3]), uv, () if light is None else light.unbind(-1)[:3])
        return torch.stack([*planes, planes[0]], -1)

    def of_frame(
        self,
        part: FramePart,
        uv: Tensor,  # (h, w, 2)
        light: Tensor | None,  # (h, w, 4)
    ) -> Tensor:  # (h, w, 4), in the frame's units
        """Change the colours of a frame as `whole` does; on a CPU those of 8 bits are looked up in a fraction of the time."""
        if part.image.dtype != np.uint8 or uv.device.type != "cpu" or (self.unlit and light is not None):
            return self.of_colours(part.colours / part.top, uv, light).mul_(part.top)
        changed = self.table.at_bytes(part.image)
        if self.grid is not None:
            more = self.grid.at(list((part.colours / part.top).unbind(-1)[:3]), uv)
            changed.add_(torch.stack([*more, more[0]], -1), alpha=part.top)
        return changed.clamp_(0, part.top)

    def shares(self, device: torch.device | str = "cpu") -> Texture:
        """Make a texture of how far it applies, 1 plane."""
        return Texture(self.share[..., None], device)

    def save(self, path: Path) -> None:
        """Write it to a file."""
        arrays = {"nodes": self.table.nodes, "table": self.table.values, "share": self.share}
        description: dict[str, Any] = {"unlit": self.unlit}
        if self.grid is not None:
            arrays["grid"] = self.grid.values
            description |= {"corner": list(self.grid.corner), "side": list(self.grid.side)}
        if self.matte is not None:
            arrays["matte"] = self.matte.shares
        save_tensors(
            path, {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}, description
        )

    @classmethod
    def load(cls, path: Path) -> ColourChange:
        """Read what `save` wrote; UserError where the file is missing or damaged. It may come from anyone."""
        tensors, description = load_tensors(path, "colour change", AGGREGATE)
        try:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            nodes, share = arrays["nodes"], arrays["share"]
            count = min(nodes.shape[1], NODES)
            _check(nodes, (3, count))
            _check(arrays["table"], (count, count, count, 3))
            if not share.size:
                raise ValueError("its share is empty")
            _check(share, (min(share.shape[0], _LARGEST), min(share.shape[1], _LARGEST)))
            if (np.diff(nodes) <= 0).any() or (nodes[:, 0] != 0).any() or (nodes[:, -1] < 1).any():
                raise ValueError("its nodes do not ascend from 0 to 1 or more")
            grid, matte = None, None
            if "grid" in arrays:
                _check(arrays["grid"], (*SHAPE, 4, 3))
                corner, side = (_pair(description[name]) for name in ("corner", "side"))
                if min(side) <= 0:
                    raise ValueError("its grid has no extent")
                grid = BilateralGrid(arrays["grid"], corner, side)
            if "matte" in arrays:
                _check(arrays["matte"], (len(OPACITIES), len(MASKS)))
                matte = Matte(arrays["matte"].clip(0, 1))
        except (KeyError, IndexError, TypeError, ValueError) as problem:
            raise UserError(f"{path} is damaged ({problem}): run {AGGREGATE} again") from None
        return cls(ColourTable(nodes, arrays["table"]), grid, share.clip(0, 1), matte, description.get("unlit") is True)


def recoloured_atlas(
    atlas: np.ndarray,  # (N, N, 4) float32, the fit's own
    change: ColourChange | None,
) -> np.ndarray:  # (N, N, 4) float32
    """Apply a colour change to an atlas, as far as it applies."""
    if change is None or not change.share.any():
        return atlas
    rows, columns = ((np.arange(side, dtype=np.float32) + 0.5) * (2 / side) - 1 for side in atlas.shape[:2])
    uv = np.stack(np.meshgrid(columns, rows), -1)
    share = change.shares().at(uv, smooth=False)[0]
    planes = [torch.from_numpy(plane) for plane in cv2.split(np.ascontiguousarray(atlas[..., :3]))]
    whole = change.whole(planes, torch.from_numpy(uv))
    changed = [old + share * (new - old) for old, new in zip(planes, whole, strict=True)]
    return np.dstack([*(plane.numpy() for plane in changed), atlas[..., 3]])


def _check(array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"an array is not {shape} finite float32 numbers")


def _pair(values: object) -> tuple[float, float]:
    if not isinstance(values, list) or len(values) != 2:
        raise ValueError("the grid's place is not known")
    first, second = (float(value) for value in values)
    if not np.isfinite([first, second]).all():
        raise ValueError("the grid's place is not known")
    return first, second
