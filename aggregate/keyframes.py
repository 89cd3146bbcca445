"""Keyframes of a layer, checked, and each of them read and placed in the atlas beside its unedited frame: one at a time."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aggregate.change.learning import EditedPixels, learn_change
from aggregate.change.left_over import LeftOver
from aggregate.repainted import Claims, repainted_pixels
from aggregate.stack import FEW
from aggregate.windows import View
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, check_keyframe, read_keyframe
from atlas.clip.keep import read_keep
from atlas.errors import EDIT, UserError
from atlas.geometry.boxes import Box, bounding_box, sides_of
from atlas.maps.coverage import Visibility
from atlas.maps.keyframes import keyframe_pixels
from atlas.maps.lay_over import where_applied
from atlas.maps.layer_view import PURE, FramePart
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.maps.partial import Partial, uv_within
from atlas.recolour.change import ColourChange
from atlas.storage.images import to_float
from atlas.storage.pictures import picture_header
from atlas.system.progress import Progress

_BEYOND = 32  # texels: coverage grows and fades by up to 20
_COLOURS, _LIGHT, _REPAINTED = slice(0, 6), 6, 7  # channels that go to the atlas together


@dataclass(frozen=True)
class PlacedKeyframe:
    """One keyframe and its unedited frame in the atlas, light removed."""

    partial: Partial
    """Six channels: edited, then unedited but for the colour change."""
    light: Tensor
    """(N, N) the light that was removed, a mean over the colours."""
    repainted: Tensor
    """(N, N) where the keyframe was repainted by hand, about [0, 1]."""
    view: View
    """The same as pixels."""
    explained: bool = False
    """Whether the colour change explains it but for single pixels."""

    def within(self, box: Box) -> PlacedKeyframe:
        """Crop to a box of the atlas that holds all that was seen."""
        own, size = self.partial, (self.light.shape[0], self.light.shape[1])
        images = (own.colour, own.weight, own.seen, own.coverage)
        view = replace(self.view, uv=uv_within(self.view.uv, box, size))
        cropped = Partial(*(image[box] for image in images))
        return PlacedKeyframe(cropped, self.light[box], self.repainted[box], view, self.explained)


@dataclass(frozen=True)
class LayerKeyframes:
    """The keyframes of one layer of an edit, as they lie in its folder."""

    clip: Clip
    layer: str
    maps: Maps
    files: dict[int, Path]
    made: dict[int, Path]
    """What the edit stage wrote, where that is known."""
    mask: Path | None
    keep: np.ndarray | None
    """(N, N) in [0, 1], 1 = stays as it was; None without a mask."""
    fit: str
    """Identity of the fit."""

    @classmethod
    def open(cls, clip: Clip, edit: Edit, layer: str) -> LayerKeyframes:
        """Find a layer's keyframes and check them; UserError where there are none, or one is damaged, past the end of the
        clip or of another size."""
        maps = open_maps(clip, edit.fit, layer)
        files = edit.keyframes(layer)
        if not files:
            raise UserError(f"{edit.keyframes_folder(layer)} holds no keyframes: run {EDIT} {clip.folder} again")
        for index, path in files.items():
            if index >= clip.frames:
                raise UserError(f"{path} is past the end: the clip has frames 0 to {clip.frames - 1}; remove it")
            check_keyframe(path, clip)
        mask = path if (path := edit.keep_path(layer)).is_file() else None
        keep = None if mask is None else read_keep(mask, maps.atlas_path(layer), maps.atlas_size(layer))
        made = {index: path for index in files if (path := edit.made_path(layer, index)).is_file()}
        return cls(clip, layer, maps, files, made, mask, keep, fit_identity(clip, maps, layer))

    @cached_property
    def box(self) -> Box:
        """The box of the atlas that the layer fills, and some more: of a square, a clip often fills less than half."""
        alpha = self.maps.atlas(self.layer)[..., 3]
        return bounding_box(alpha > 0, _BEYOND) or (slice(0, alpha.shape[0]), slice(0, alpha.shape[1]))

    @property
    def indices(self) -> list[int]:
        """Frame numbers, ascending."""
        return list(self.files)

    def digested(self) -> list[Path]:
        """List all files that decide the result, in a fixed order."""
        return [*self.files.values(), *([self.mask] if self.mask else []), *self.made.values()]

    def pixels(self, index: int) -> EditedPixels:
        """Read the pixels of keyframe `index` before and after the edit."""
        shown = self.clip.frame(index)
        keyframe, frame = to_float(read_keyframe(self.files[index], self.clip, index, shown)), to_float(shown)
        uv, opacity = self.maps.uv(self.layer, index), self.maps.opacity(self.layer, index)
        applies = where_applied(keyframe[..., 3], opacity)
        applies[opacity == 0] = 1  # there alpha says nothing: what counts is whether the picture was left as it was
        after = np.where(applies[..., None] == 1, keyframe[..., :3], frame + applies[..., None] * (keyframe[..., :3] - frame))
        light = self.maps.light(self.layer, index)
        return EditedPixels(frame, after, uv, light, opacity, self.clip.selection(self.layer, index))

    def change(self, chosen: list[int], seed: int) -> ColourChange | None:
        """Learn the colour change of the layer from the chosen keyframes; None where it explains nothing of the edit."""
        return learn_change([partial(self.pixels, index) for index in chosen], self.maps.atlas_size(self.layer), seed=seed)

    def recoloured(self, index: int, shown: np.ndarray, change: ColourChange) -> np.ndarray:  # (H, W, 3) uint8 -> float32
        """Change the colours of frame `index` as the keyframe changes them."""
        uv = self.maps.uv(self.layer, index)
        light = torch.from_numpy(self.maps.light(self.layer, index)) if change.unlit else None
        (share,) = change.shares().at(uv, smooth=False)
        if change.matte is not None:
            opacity, mask = self.maps.opacity(self.layer, index), self.clip.selection(self.layer, index)
            share = share * change.matte.at(torch.from_numpy(opacity), torch.from_numpy(mask))
        whole = change.of_frame(FramePart(shown, torch.device("cpu")), torch.from_numpy(uv), light)[..., :3].numpy() / 255
        return (frame := to_float(shown)) + share.numpy()[..., None] * (whole - frame)

    def placed(self, index: int, device: torch.device, change: ColourChange | None = None) -> PlacedKeyframe:
        """Place keyframe `index` and its unedited frame, its colours changed, in the atlas."""
        shown = self.clip.frame(index)
        image = read_keyframe(self.files[index], self.clip, index, shown)
        colours, explained, made = to_float(image), False, self._before(index)
        keyframe = torch.from_numpy(colours).to(device)
        pixels = keyframe_pixels(self.maps, self.layer, index, keyframe[..., 3])
        before = to_float(shown)
        if change is not None:
            weight, alone = pixels.weight.cpu().numpy(), self.maps.opacity(self.layer, index) >= PURE
            left = LeftOver.of(colours[..., :3], self.recoloured(index, shown, change), weight, alone)
            before, explained = left.frame, left.explained
        frame = torch.from_numpy(before).to(device)
        channels = [pixels.unlit(keyframe[..., :3], frame), pixels.light.mean(-1, keepdim=True)]
        if made is not None:
            channels.append(torch.from_numpy(repainted_pixels(image, made)).to(device)[..., None])
        # Where nothing but single pixels differs it makes no difference to the result how sharp both are.
        placed = pixels.in_atlas(torch.cat(channels, -1), sharpened=not explained)
        counts = pixels.weight > 0
        edited, original = channels[0][counts].split(3, dim=-1)
        view = View(pixels.uv[counts], edited, original, pixels.weight[counts])
        planes = placed.colour
        repainted = torch.zeros_like(placed.weight) if made is None else planes[..., _REPAINTED]
        return PlacedKeyframe(replace(placed, colour=planes[..., _COLOURS]), planes[..., _LIGHT], repainted, view, explained)

    def claims(self, device: torch.device, *, quiet: bool = True) -> Claims:
        """Find what was repainted by hand in any of the keyframes, where it lies in the box of the atlas."""
        claims = Claims(sides_of(self.box), device)
        for index, path in Progress(self.files.items(), desc="repainted", unit="keyframe", leave=False, delay=1, quiet=quiet):
            made = self._before(index)
            if made is not None and repainted_pixels(read_keyframe(path, self.clip, index), made).any():
                placed = self.placed(index, device).within(self.box)
                claims.add(index, placed.repainted.clamp(0, 1), placed.partial.weight)
        return claims

    def _before(self, index: int) -> np.ndarray | None:  # (H, W, 4)
        """Read keyframe `index` as it was made; None where that is not known, or its file is still the same."""
        path = self.made.get(index)
        if path is None or picture_header(path).size != (self.clip.height, self.clip.width):
            return None
        return None if filecmp.cmp(path, self.files[index], shallow=False) else read_keyframe(path, self.clip, index)


def learned_from(seen_by: Visibility | None, indices: list[int]) -> list[int]:
    """Choose by number the keyframes that are learned from: all of a few, of many those that together see most."""
    if seen_by is None or len(indices) <= FEW:
        return list(range(len(indices)))
    among = Visibility(seen_by.counts[indices])
    return among.choose(FEW) if among.counts.any() else list(range(FEW))
