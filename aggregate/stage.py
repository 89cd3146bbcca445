"""The aggregate stage: from the keyframes in an edit's folder to one edited atlas per layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from aggregate.averages import merged_coverage
from aggregate.keyframes import LayerKeyframes
from aggregate.lighting import unlit_share
from aggregate.merging import merge
from aggregate.network import Training
from aggregate.repainted import unclaimed
from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit
from atlas.clip.keep import open_coverage
from atlas.errors import DEFLICKER, EDIT, UserError
from atlas.geometry.warp import sample
from atlas.maps.coverage import covered_share, visibility
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_uint16, write_image
from atlas.storage.stamps import digest, is_up_to_date, write_json, write_stamp
from atlas.system.command import CommonOptions
from atlas.system.cost import measured
from atlas.system.device import Device, choose_device
from atlas.system.terminal import visible

VERSION = 4  # of the method: a changed one makes earlier results out of date


@dataclass(kw_only=True)
class AggregateOptions(CommonOptions):
    """Merge the edited keyframes of an edit into one atlas per layer."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    edit: str
    """Name of the edit."""
    method: Literal["network", "mean", "median"] = "network"
    """network: the mean (robust where keyframes disagree), corrected by a small network that is trained to predict each
    keyframe from the others; mean, median: coverage-weighted."""
    # Their help stands beside --no-match-gain and --no-match-shift.
    match_gain: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are evened out)")] = True
    """Leave keyframes as bright as they are against each other. Evening them out does not change what they have in common."""
    match_shift: Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: they are moved)")] = True
    """Leave keyframes where they are, also those that sit a little aside of the others (up to 3 texels)."""
    merge_steps: Annotated[int, tyro.conf.arg(name="steps")] = 160
    """At most so many training steps of the network; it stops earlier where it no longer improves."""
    seed: int = 0
    """Seed of the network's training."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU where there is one."""


@dataclass
class LayerResult:
    """What was aggregated for one layer."""

    layer: str
    keyframes: list[int]
    covered: float | None = None
    """Share of the layer's visible pixels (all frames) whose texel a keyframe saw; None where it was up to date."""
    further: tuple[int, float] | None = None
    """The frame that would add most as a further keyframe, and the share that it would add."""
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.keyframes:
            return f"{self.layer}: a painted atlas, nothing to merge"
        text = f"{self.layer}: {len(self.keyframes)} keyframe{'s' if len(self.keyframes) > 1 else ''}"
        if self.up_to_date:
            return f"{text}, up to date"
        text += f" cover {self.covered:.1%} of its visible pixels"
        if self.covered is not None and self.covered < 0.9995:
            text += f", the other {1 - self.covered:.1%} stay as they were"
        if self.further is not None:
            text += f"; keyframe {self.further[0]} would add {self.further[1]:.1%}"
        return "\n".join([text, *self.notes])


@dataclass
class AggregateResult:
    """What the aggregate stage did, layer by layer."""

    edit: Edit
    layers: list[LayerResult]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.layers), f"edited atlases in {self.edit.folder / 'atlas'}"])


def aggregate(options: AggregateOptions) -> AggregateResult:
    """Aggregate every layer of an edit that has keyframes; only what changed since the last time.

    Keyframes repainted by hand are picked up; an atlas repainted by hand stays as long as its keyframes do.
    Raises UserError where the edit is unknown, has no keyframes, or a keyframe is past the end or of another size.
    """
    clip = Clip.open(options.clip)
    edit = Edit.open(clip, options.edit)
    if WHOLE_FRAME in edit.layers:
        raise UserError(
            f"{edit.folder} is an edit of whole frames, which have no atlas to be merged in: render it, or let its frames agree"
            f" first with {DEFLICKER} {clip.folder} --edit {edit.name}"
        )
    device = choose_device(options.device)
    layers = [LayerKeyframes.open(clip, edit, layer) for layer in edit.layers if not edit.is_painted(layer)]
    painted = [LayerResult(layer, []) for layer in edit.layers if edit.is_painted(layer)]
    if not layers and not painted:
        raise UserError(f"{edit.folder} has no layers: run {EDIT} {clip.folder} --name {edit.name}")
    return AggregateResult(edit, [_aggregate_layer(options, edit, keyframes, device) for keyframes in layers] + painted)


def _made_from(options: AggregateOptions, keyframes: LayerKeyframes) -> str:
    """Digest all that decides the layer's result."""
    network = [options.seed, options.merge_steps] if options.method == "network" else []
    how = [VERSION, options.method, network, options.match_gain, options.match_shift, keyframes.indices]
    return digest(how, keyframes.fit, *keyframes.digested())


def _aggregate_layer(options: AggregateOptions, edit: Edit, keyframes: LayerKeyframes, device: torch.device) -> LayerResult:
    """Merge one layer's keyframes unless what they were merged into is up to date."""
    clip, layer, made_from = keyframes.clip, keyframes.layer, _made_from(options, keyframes)
    outputs = [edit.atlas_path(layer), edit.reference_path(layer), edit.lighting_path(layer)]
    stage = f"aggregate {layer}"
    if is_up_to_date(edit.folder, made_from, stage) and all(path.is_file() for path in outputs):
        return LayerResult(layer, keyframes.indices, up_to_date=True)
    with measured(clip.folder, f"aggregate {edit.name} {layer}") as cost:
        cost.update(frames=len(keyframes.indices), width=clip.width, height=clip.height)
        result = _merge_layer(options, edit, keyframes, device)
        write_stamp(edit.folder, made_from, stage)
        return result


def _merge_layer(options: AggregateOptions, edit: Edit, keyframes: LayerKeyframes, device: torch.device) -> LayerResult:
    """Place the keyframes in the atlas, merge them, and write the edited atlas, its reference and the partial atlases."""
    layer, indices = keyframes.layer, keyframes.indices
    outputs = [edit.atlas_path(layer), edit.reference_path(layer)]
    bar = tqdm(indices, desc=visible(f"aggregate {layer}"), unit="keyframe", disable=options.quiet)
    placed = [keyframes.placed(index, device) for index in bar]
    light, repainted = torch.stack([k.light for k in placed]), torch.stack([k.repainted for k in placed])
    shares = unclaimed(repainted.clamp(0, 1), torch.stack([k.partial.weight for k in placed]))
    claimed = shares * (1 - repainted.clamp(0, 1))  # nor does the network learn to paint it over, or the rest like it
    views = [
        replace(k.view, weight=k.view.weight * sample(c[..., None], k.view.uv)[..., 0])
        for k, c in zip(placed, claimed, strict=True)
    ]
    partials = [replace(k.partial, weight=k.partial.weight * s) for k, s in zip(placed, shares, strict=True)]
    edited, reference = merge(
        partials,
        views,
        options.method,
        Training(steps=options.merge_steps),
        match_gain=options.match_gain,
        match_shift=options.match_shift,
        seed=options.seed,
        quiet=options.quiet,
    )
    coverage = merged_coverage(torch.stack([p.coverage for p in partials]))
    if keyframes.keep is not None:
        coverage = torch.from_numpy(open_coverage(coverage.cpu().numpy(), keyframes.keep)).to(device)
    seen = merged_coverage(torch.stack([p.seen for p in partials]))

    result = LayerResult(layer, indices)
    if changed := [str(index) for index, places in zip(indices, repainted, strict=True) if (places > 0.5).any()]:
        named = f"keyframe{'s' if len(changed) > 1 else ''} {', '.join(changed)}"
        result.notes.append(f"{layer}: what was repainted in {named} counts more there than the other keyframes")
    for path in outputs:
        if moved := edit.set_aside(path):
            result.notes.append(f"{path} was repainted by hand: kept as {moved}")
    with atomic_folder(edit.partial_folder(layer)) as folder:
        for index, partial in zip(indices, partials, strict=True):
            write_image(folder / f"{index:05d}.png", _rgba(partial.colour[..., :3], partial.coverage).cpu().numpy())
    unlit = unlit_share(torch.stack([p.colour for p in partials]), light, torch.stack([p.weight for p in partials]))
    write_json(edit.lighting_path(layer), {"unlit": round(unlit, 3)})
    for path, image in zip(outputs, _writable(edited, reference, coverage), strict=True):
        write_image(path, image)
        edit.sign(path)
    result.covered = covered_share(keyframes.maps, layer, seen.cpu().numpy())
    further = visibility(keyframes.maps, layer).best_addition(indices) if len(indices) < keyframes.clip.frames else (0, 0.0)
    result.further = further if further[1] >= 0.001 else None
    write_stamp(edit.folder, keyframes.fit, f"fit {layer}")  # rendering asks for the fit an atlas stands on
    return result


def _rgba(colour: Tensor, alpha: Tensor) -> Tensor:
    return torch.cat([colour, alpha[..., None]], -1).clamp(0, 1)


def _writable(edited: Tensor, reference: Tensor, coverage: Tensor) -> list[np.ndarray]:
    """Convert both atlases to (H, W, 4) uint16. Light-free colours may leave [0, 1]: then both are moved alike, because
    what counts is their difference."""
    too_high = (torch.maximum(edited, reference) - 1).clamp(min=0)
    too_low = torch.minimum(edited, reference).clamp(max=0)
    move = too_high + too_low
    return [to_uint16(_rgba(image - move, coverage).cpu().numpy()) for image in (edited, reference)]
