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

from aggregate.averages import merged_coverage, weighted_mean, weighted_median
from aggregate.lighting import unlit_share
from aggregate.match import Matched, match
from aggregate.network import Training, refine
from aggregate.repainted import repainted_pixels, unclaimed
from aggregate.windows import View
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, read_keyframe
from atlas.clip.keep import open_coverage, read_keep
from atlas.errors import UserError
from atlas.geometry.warp import sample
from atlas.maps.coverage import covered_share, visibility
from atlas.maps.maps import Maps, fit_identity, open_maps
from atlas.maps.partial import Partial, partial_atlas
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_float, to_uint16, write_image
from atlas.storage.pictures import picture_header
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


@dataclass
class _Job:
    """One layer's keyframes, checked."""

    layer: str
    maps: Maps
    files: dict[int, Path]
    images: dict[int, np.ndarray]  # (H, W, 4) uint8 or uint16
    made: dict[int, Path]  # what the edit stage wrote, where it is known
    fit: str  # identity of the fit
    made_from: str
    keep: np.ndarray | None = None  # (N, N) in [0, 1], 1 = stays as it was


def aggregate(options: AggregateOptions) -> AggregateResult:
    """Aggregate every layer of an edit that has keyframes; only what changed since the last time.

    Keyframes repainted by hand are picked up; an atlas repainted by hand stays as long as its keyframes do.
    Raises UserError where the edit is unknown, has no keyframes, or a keyframe is past the end or of another size.
    """
    clip = Clip.open(options.clip)
    edit = Edit.open(clip, options.edit)
    device = choose_device(options.device)
    jobs = [_job(options, clip, edit, layer) for layer in edit.layers if not edit.is_painted(layer)]
    painted = [LayerResult(layer, []) for layer in edit.layers if edit.is_painted(layer)]
    if not jobs and not painted:
        raise UserError(f"{edit.folder} has no layers: run scripts/edit.py {clip.folder} --name {edit.name}")
    return AggregateResult(edit, [_aggregate_layer(options, clip, edit, job, device) for job in jobs] + painted)


def _job(options: AggregateOptions, clip: Clip, edit: Edit, layer: str) -> _Job:
    maps = open_maps(clip, edit.fit, layer)
    files = edit.keyframes(layer)
    if not files:
        raise UserError(f"{edit.keyframes_folder(layer)} holds no keyframes: run scripts/edit.py {clip.folder} again")
    images = {}
    for index, path in files.items():
        if index >= clip.frames:
            raise UserError(f"{path} is past the end: the clip has frames 0 to {clip.frames - 1}; remove it")
        images[index] = read_keyframe(path, clip)
    network = [options.seed, options.merge_steps] if options.method == "network" else []
    how = [VERSION, options.method, network, options.match_gain, options.match_shift, list(files)]
    fit = fit_identity(clip, maps, layer)
    mask = edit.keep_path(layer)
    keep = read_keep(mask, maps.atlas_path(layer), maps.atlas_size(layer)) if mask.is_file() else None
    made = {index: path for index in files if (path := edit.made_path(layer, index)).is_file()}
    beside = [*([mask] if mask.is_file() else []), *made.values()]
    return _Job(layer, maps, files, images, made, fit, digest(how, fit, *files.values(), *beside), keep)


def _aggregate_layer(options: AggregateOptions, clip: Clip, edit: Edit, job: _Job, device: torch.device) -> LayerResult:
    layer, indices = job.layer, list(job.files)
    outputs = [edit.atlas_path(layer), edit.reference_path(layer), edit.lighting_path(layer)]
    stage = f"aggregate {layer}"
    if is_up_to_date(edit.folder, job.made_from, stage) and all(path.is_file() for path in outputs):
        return LayerResult(layer, indices, up_to_date=True)
    with measured(clip.folder, f"aggregate {edit.name} {job.layer}") as cost:
        cost.update(frames=len(indices), width=clip.width, height=clip.height)
        return _merge_layer(options, clip, edit, job, device)


def _merge_layer(options: AggregateOptions, clip: Clip, edit: Edit, job: _Job, device: torch.device) -> LayerResult:
    layer, indices = job.layer, list(job.files)
    outputs = [edit.atlas_path(layer), edit.reference_path(layer)]
    partials, views = [], []
    for index in tqdm(indices, desc=visible(f"aggregate {layer}"), unit="keyframe", disable=options.quiet):
        partial, view = _read_keyframe(clip, job, index, device)
        partials.append(partial)
        views.append(view)
    light, repainted = (torch.stack([p.colour[..., channel] for p in partials]) for channel in (6, 7))
    shares = unclaimed(repainted.clamp(0, 1), torch.stack([p.weight for p in partials]))
    claimed = shares * (1 - repainted.clamp(0, 1))  # nor does the network learn to paint it over, or the rest like it
    views = [replace(v, weight=v.weight * sample(c[..., None], v.uv)[..., 0]) for v, c in zip(views, claimed, strict=True)]
    partials = [replace(p, colour=p.colour[..., :6], weight=p.weight * s) for p, s in zip(partials, shares, strict=True)]
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
    if job.keep is not None:
        coverage = torch.from_numpy(open_coverage(coverage.cpu().numpy(), job.keep)).to(device)
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
    result.covered = covered_share(job.maps, layer, seen.cpu().numpy())
    further = visibility(job.maps, layer).best_addition(indices) if len(indices) < clip.frames else (0, 0.0)
    result.further = further if further[1] >= 0.001 else None
    write_stamp(edit.folder, job.fit, f"fit {layer}")  # rendering asks for the fit an atlas stands on
    write_stamp(edit.folder, job.made_from, f"aggregate {layer}")
    return result


def merge(
    partials: list[Partial],  # colour (H, W, 6): edited, then unedited
    views: list[View],
    method: str,
    training: Training | None = None,
    *,
    match_gain: bool = True,
    match_shift: bool = True,
    seed: int = 0,
    quiet: bool = True,
) -> tuple[Tensor, Tensor]:  # edited (H, W, 3), reference (H, W, 3)
    """Merge partial atlases: the edited and the unedited channels are matched and merged alike.

    Each is matched for itself, because an edit may have other disagreements than the frames; where nothing was edited
    both are the same numbers and stay so.
    """
    colours, weights = torch.stack([p.colour for p in partials]), torch.stack([p.weight for p in partials])
    if len(partials) > 1 and (match_gain or match_shift):
        both = [match(part, weights, gains=match_gain, shifts=match_shift) for part in colours.split(3, dim=-1)]
        colours = torch.cat([matched.colours for matched in both], -1)
        views = [_matched_view(view, number, *both) for number, view in enumerate(views)]
    if method == "network":
        coverage = merged_coverage(torch.stack([p.coverage for p in partials]))
        refined = refine(colours, weights, coverage, views, seed=seed, training=training, quiet=quiet)
        edited, reference = refined.edited, refined.reference
    else:
        merged = weighted_median(colours, weights) if method == "median" else weighted_mean(colours, weights)
        edited, reference = merged.split(3, dim=-1)
    # Equal up to rounding is equal: what was not edited must leave no difference.
    return torch.where((edited - reference).abs() < 1e-5, reference, edited), reference


def _matched_view(view: View, number: int, edited: Matched, original: Matched) -> View:
    return View(
        edited.moved(number, view.uv),
        view.edited * edited.gains[number],
        view.original * original.gains[number],
        view.weight,
        original.moved(number, view.uv),
    )


def _read_keyframe(clip: Clip, job: _Job, index: int, device: torch.device) -> tuple[Partial, View]:
    """One keyframe and its unedited frame, light removed, in the atlas (then the light, and where it was repainted) and as
    pixels."""
    maps, layer = job.maps, job.layer
    keyframe = torch.from_numpy(to_float(job.images[index])).to(device)
    frame = torch.from_numpy(to_float(clip.frame(index))).to(device)
    light = torch.from_numpy(maps.light(layer, index)).to(device).clamp(min=0.05)
    uv = torch.from_numpy(maps.uv(layer, index)).to(device)
    opacity = torch.from_numpy(maps.opacity(layer, index)).to(device)
    # A keyframe's alpha is opacity times where the edit applies; a painter may have made it all opaque.
    applies = (keyframe[..., 3] / opacity.clamp(min=1 / 255)).clamp(max=1)
    values = torch.cat([keyframe[..., :3], frame], -1) / torch.cat([light, light], -1)
    repainted = torch.zeros_like(opacity)
    if index in job.made and picture_header(job.made[index]).size == (clip.height, clip.width):
        found = repainted_pixels(job.images[index], read_keyframe(job.made[index], clip))
        repainted = torch.from_numpy(found).to(device)
    lit = torch.cat([values, light.mean(-1, keepdim=True), repainted[..., None]], -1)
    partial = partial_atlas(lit, uv, opacity, applies, maps.atlas_size(layer), refine=1)
    counts = (opacity * applies) > 0
    edited, original = values[counts].split(3, dim=-1)
    return partial, View(uv[counts], edited, original, (opacity * applies)[counts])


def _rgba(colour: Tensor, alpha: Tensor) -> Tensor:
    return torch.cat([colour, alpha[..., None]], -1).clamp(0, 1)


def _writable(edited: Tensor, reference: Tensor, coverage: Tensor) -> list[np.ndarray]:
    """Both atlases as (H, W, 4) uint16. Light-free colours may leave [0, 1]: then both are moved alike, because
    what counts is their difference."""
    too_high = (torch.maximum(edited, reference) - 1).clamp(min=0)
    too_low = torch.minimum(edited, reference).clamp(max=0)
    move = too_high + too_low
    return [to_uint16(_rgba(image - move, coverage).cpu().numpy()) for image in (edited, reference)]
