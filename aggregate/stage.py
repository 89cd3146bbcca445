"""The aggregate stage: from the keyframes in an edit's folder to one edited atlas per layer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aggregate.change.confirmed import believed, confirmed
from aggregate.keyframes import LayerKeyframes, PlacedKeyframe, learned_from
from aggregate.lighting import unlit_share
from aggregate.merging import merge, rgba, writable
from aggregate.network import Training
from aggregate.partials import Partials
from aggregate.stack import FEW, ImageStack
from aggregate.windows import View
from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import WHOLE_FRAME, Clip
from atlas.clip.edits import Edit
from atlas.clip.keep import open_coverage
from atlas.errors import DEFLICKER, EDIT, UserError, a_few
from atlas.geometry.boxes import Box, sides_of
from atlas.geometry.warp import sample
from atlas.maps.coverage import visibility
from atlas.maps.partial import Partial
from atlas.options.aggregate import AggregateOptions
from atlas.recolour.change import ColourChange, recoloured_atlas
from atlas.recolour.reach import FOLLOWS, SEEN_BY_A_KEYFRAME, Reach
from atlas.storage.atomic import atomic_folder
from atlas.storage.images import to_uint8, write_image
from atlas.storage.links import remove
from atlas.storage.own.listed import finish_listed
from atlas.storage.stamps import digest, is_up_to_date, read_json, write_json, write_stamp
from atlas.system.cost import measured
from atlas.system.device import choose_device
from atlas.system.parallel import WORKERS, in_order
from atlas.system.progress import Progress
from atlas.system.terminal import visible

VERSION = 10  # of the method: a changed one makes earlier results out of date
_PLACED = 2  # keyframes that are placed at once: each holds several images of the atlas's size
_VERSION_OF_MANY = 1  # the same for more keyframes than a few, which are compared and learned from in part


@dataclass
class LayerResult:
    """What was aggregated for one layer."""

    layer: str
    keyframes: list[int]
    covered: float | None = None
    """Share of the layer's visible pixels (all frames) whose texel a keyframe saw; None where it was up to date."""
    further: tuple[int, float] | None = None
    """The frame that would add most as a further keyframe, and the share that it would add."""
    follows: float = 0.0
    """Share of the visible pixels that no keyframe saw and that follow the colour change alone."""
    up_to_date: bool = False
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.keyframes:
            return f"{self.layer}: a painted atlas, nothing to merge"
        text = f"{self.layer}: {len(self.keyframes)} keyframe{'s' if len(self.keyframes) > 1 else ''}"
        if self.up_to_date:
            return f"{text}, up to date"
        text += f" cover {self.covered:.1%} of its visible pixels"
        if self.follows >= 0.0005:
            text += f", {self.follows:.1%} follow the change of colours alone"
        if self.covered is not None and self.covered + self.follows < 0.9995:
            text += f", the other {1 - self.covered - self.follows:.1%} stay as they were"
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


@holds_clip
def aggregate(options: AggregateOptions) -> AggregateResult:
    """Aggregate every layer of an edit that has keyframes; only what changed since the last time.

    Keyframes repainted by hand are picked up; an atlas repainted by hand stays as long as its keyframes do.
    Raises UserError where the edit is unknown, has no keyframes, or a keyframe is past the end or of another size.
    """
    clip = Clip.open(options.clip)
    with at_work(clip.folder, writes=[clip.edit_folder(options.edit)], wait=options.wait):
        edit = Edit.open(clip, options.edit)
        with at_work(clip.folder, reads=[clip.fit_folder(edit.fit)], wait=options.wait):
            return _aggregate(options, clip, edit)


def _aggregate(options: AggregateOptions, clip: Clip, edit: Edit) -> AggregateResult:
    """Aggregate an edit that is held for it."""
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
    seed = [options.seed] if options.method == "network" or options.colours == "learned" else []
    network = [*seed, *([options.merge_steps] if options.method == "network" else [])]
    version = [VERSION, *([_VERSION_OF_MANY] if len(keyframes.indices) > FEW else [])]
    how = [*version, options.method, options.colours, network, options.match_gain, options.match_shift, keyframes.indices]
    return digest(how, keyframes.fit, *keyframes.digested())


def _aggregate_layer(options: AggregateOptions, edit: Edit, keyframes: LayerKeyframes, device: torch.device) -> LayerResult:
    """Merge one layer's keyframes unless what they were merged into is up to date."""
    clip, layer, made_from = keyframes.clip, keyframes.layer, _made_from(options, keyframes)
    outputs = [edit.atlas_path(layer), edit.reference_path(layer), edit.lighting_path(layer)]
    stage = edit.merged_stamp(layer)
    there = all(path.is_file() for path in outputs) and _is_change_whole(edit, layer)
    if there and is_up_to_date(edit.folder, made_from, stage):
        return LayerResult(layer, keyframes.indices, up_to_date=True)
    with measured(clip.folder, f"aggregate {edit.name} {layer}") as cost:
        cost.update(frames=len(keyframes.indices), width=clip.width, height=clip.height)
        result = _merge_layer(options, edit, keyframes, device)
        write_stamp(edit.folder, made_from, stage)
        return result


def _is_change_whole(edit: Edit, layer: str) -> bool:
    """Whether the colour change that a layer was merged with is there as it was written."""
    try:
        recorded, path = read_json(edit.lighting_path(layer)), edit.change_path(layer)
    except UserError:
        return False
    named = recorded.get("change") if isinstance(recorded, dict) else None
    return named is None or (path.is_file() and digest(path) == named)


def _merge_layer(options: AggregateOptions, edit: Edit, keyframes: LayerKeyframes, device: torch.device) -> LayerResult:
    """Place the keyframes in the atlas, merge them, and write the edited atlas, its reference and the partial atlases."""
    layer, indices, frames = keyframes.layer, keyframes.indices, keyframes.clip.frames
    seen_by = visibility(keyframes.maps, layer) if len(indices) > FEW or len(indices) < frames else None
    result, partial = LayerResult(layer, indices), edit.partial_folder(layer)
    with atomic_folder(partial) as folder:
        merged = _merged(options, keyframes, learned_from(seen_by, indices), folder, device)
        if kept := finish_listed(folder, partial):
            result.notes.append(f"changed since they were made, and replaced: {a_few(kept)}")

    if merged.repainted:
        named = f"keyframe{'s' if len(merged.repainted) > 1 else ''} {', '.join(map(str, merged.repainted[:FEW]))}"
        named += f" and {len(merged.repainted) - FEW} more" if len(merged.repainted) > FEW else ""
        result.notes.append(f"{layer}: what was repainted in {named} counts more there than the other keyframes")
    outputs = [edit.atlas_path(layer), edit.reference_path(layer)]
    # Until they are all there, nobody takes one for what belongs to the other.
    write_stamp(edit.folder, "", edit.merged_stamp(layer))
    for path in outputs:
        if moved := edit.set_aside(path):
            result.notes.append(f"{path} was repainted by hand: kept as {moved}")
    path, change = edit.change_path(layer), merged.change
    if change is None:
        remove(path)
    else:
        change.save(path)
    write_json(edit.lighting_path(layer), {"unlit": round(merged.unlit, 3), "change": None if change is None else digest(path)})
    coverage = merged.coverage
    if keyframes.keep is not None:
        coverage = torch.from_numpy(open_coverage(coverage.cpu().numpy(), keyframes.keep)).to(device)
    pairs = [*zip(outputs, writable(merged.edited, merged.reference, coverage), strict=True)]
    for _ in in_order(lambda pair: edit.write_signed(*pair), pairs):
        pass
    shares = Reach.of(keyframes.maps, layer, merged.seen.cpu().numpy(), change).shares()
    result.covered, result.follows = shares[SEEN_BY_A_KEYFRAME], shares[FOLLOWS]
    further = seen_by.best_addition(indices) if seen_by and len(indices) < frames else (0, 0.0)
    result.further = further if further[1] >= 0.001 else None
    write_stamp(edit.folder, keyframes.fit, f"fit {layer}")  # rendering asks for the fit an atlas stands on
    return result


@dataclass
class _Merged:
    """A layer's keyframes, merged."""

    edited: Tensor  # (N, N, 3)
    reference: Tensor  # (N, N, 3)
    coverage: Tensor  # (N, N)
    seen: Tensor  # (N, N)
    unlit: float
    repainted: list[int]  # keyframes
    change: ColourChange | None


def _merged(
    options: AggregateOptions, keyframes: LayerKeyframes, learned: list[int], folder: Path, device: torch.device
) -> _Merged:
    """Merge keyframes, placed a few at a time, and write their partial atlases into `folder`.

    learned: numbers of the keyframes whose pixels the network learns from, and whose light is compared.
    """
    layer, indices, box = keyframes.layer, keyframes.indices, keyframes.box
    size = sides_of(box)
    claims, seen = keyframes.claims(device, quiet=options.quiet), torch.zeros(size, device=device)
    change = None
    if options.colours == "learned":
        change = keyframes.change([indices[number] for number in learned], options.seed)
    by_hand, known = torch.zeros(size, device=device), torch.zeros(size, device=device)
    views: dict[int, View] = {}
    repainted: list[int] = []
    explained = change is not None  # by the change of colours, but for single pixels

    def place(index: int) -> PlacedKeyframe:
        placed = keyframes.placed(index, device, change)
        write_image(folder / f"{index:05d}.png", _shown(placed.partial, box))
        return placed.within(box)

    with (
        closing(in_order(place, indices, min(WORKERS, _PLACED))) as placed_keyframes,
        Partials(folder, size, len(indices), device) as partials,
        ImageStack(folder / "lights", size, len(learned), device) as lights,
    ):
        bar = Progress(placed_keyframes, visible(f"aggregate {layer}"), len(indices), unit="keyframe", quiet=options.quiet)
        for number, (index, placed) in enumerate(zip(indices, bar, strict=True)):
            partial = placed.partial
            own = placed.repainted.clamp(0, 1)
            share = claims.left_of(index, own)
            partials.append(replace(partial, weight=partial.weight * share))
            seen, known = torch.maximum(seen, partial.seen), torch.maximum(known, partial.weight.clamp(max=1))
            by_hand = torch.maximum(by_hand, own)
            if (own > 0.5).any():
                repainted.append(index)
            explained = explained and placed.explained
            if number in learned:
                lights.append(placed.light)
                # Nor does the network learn to paint over what was repainted, or the rest like it.
                counts = sample((share * (1 - own))[..., None], placed.view.uv)[..., 0]
                views[number] = replace(placed.view, weight=placed.view.weight * counts)
        # Keyframes that are explained are as bright as their frames and in their place, as far as can be seen: nothing is there
        # to match, and to learn from. Nor does a dot tell whether it is lit.
        unlit = 0.0 if explained else unlit_share(partials.colours[learned], lights, partials.weights[learned])
        edited, reference = merge(
            partials,
            views,
            "mean" if explained and options.method == "network" else options.method,
            Training(steps=options.merge_steps),
            match_gain=options.match_gain and not explained,
            match_shift=options.match_shift and not explained,
            seed=options.seed,
            quiet=options.quiet,
        )
        # Nobody wants to look at, or paint on, what was carried on to where no keyframe saw anything.
        whole = torch.from_numpy(recoloured_atlas(keyframes.maps.atlas(layer), change)[..., :3]).to(device)
        if change is not None:
            belief = confirmed(partials.colours[learned], partials.weights[learned])
            residual = believed(edited, reference, change, torch.maximum(belief, by_hand)) - reference
            reference = torch.lerp(whole[box], reference, known[..., None])
            kept = (residual != 0) & (partials.coverage > 0)[..., None]
            edited = torch.where(kept, reference + residual, reference)
        nothing = torch.zeros_like(whole[..., 0])
        edited, reference = _whole(edited, box, whole), _whole(reference, box, whole)
        coverage, seen = _whole(partials.coverage, box, nothing), _whole(seen, box, nothing)
        return _Merged(edited, reference, coverage, seen, unlit, repainted, change)


def _shown(partial: Partial, box: Box) -> np.ndarray:  # (N, N, 4) uint8
    """Draw the edited channels of a partial atlas. Beside the box that the layer fills they are all alike, and transparent."""
    size = partial.weight.shape
    corner = tuple(slice(0, 1) if span.start > 0 else slice(side - 1, side) for span, side in zip(box, size, strict=True))
    ground, image = (
        to_uint8(rgba(partial.colour[part][..., :3], partial.coverage[part]).cpu().numpy()) for part in (corner, box)
    )
    result = np.empty((*size, 4), np.uint8)
    result[:] = np.tile(ground, (1, size[1], 1))  # row by row: pixel by pixel takes longer
    result[box] = image
    return result


def _whole(image: Tensor, box: Box, beyond: Tensor) -> Tensor:  # (h, w, ...), (N, N, ...) -> (N, N, ...)
    """Put a box of the atlas into the whole of it."""
    result = beyond.clone()
    result[box] = image
    return result
