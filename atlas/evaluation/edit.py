"""Measure one edit: warp errors, change, sharpness, keyframe fidelity, coverage and overlap, beside the source's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.clip.edits import Edit, read_keyframe
from atlas.clip.flow import dense_flow, flow_validity
from atlas.errors import ORACLE, UserError, a_few
from atlas.evaluation.catalogue import RATIOS
from atlas.evaluation.change import Changed, ChangeSeries, edited_layers, kept_from
from atlas.evaluation.learned import Learned
from atlas.evaluation.overlap import keyframe_overlap
from atlas.maps.coverage import covered_share
from atlas.metrics import definitions as metrics
from atlas.quality.summary import finite
from atlas.rendering.frames import Rendering
from atlas.storage.arrays import StoredArray
from atlas.storage.images import to_float
from atlas.storage.stamps import read_json, write_json
from atlas.system.parallel import beside, in_order
from atlas.system.progress import Progress


def measure_edit(rendering: Rendering, learned: Learned, *, quiet: bool = True) -> dict[str, Any]:
    """Measure an edit and write its metrics.json; returns what that holds, None where there is no number."""
    measured = {"name": rendering.edit.name, "mode": rendering.settings.mode} | finite(edited(rendering, learned, quiet=quiet))
    write_json(rendering.edit.folder / "metrics.json", measured)
    return measured


def edited(rendering: Rendering, learned: Learned, *, quiet: bool = True) -> dict[str, Any]:
    """Measure warp errors and sharpness of the rendered edit with the source's own beside them, and how much it changed;
    keyframe fidelity and coverage per layer.

    And what `learned` can say; under `absent` the reason for each metric that cannot be had. Frames that were edited themselves
    have neither fidelity nor coverage.
    """
    with beside(lambda: _through_maps(rendering)) as through_maps:
        return _edited(rendering, learned, through_maps, quiet=quiet)


def _edited(
    rendering: Rendering, learned: Learned, through_maps: Callable[[], dict[str, Any]], *, quiet: bool
) -> dict[str, Any]:
    """Measure an edit frame by frame; through_maps: waits for what does not come from frames."""
    clip, edit = rendering.clip, rendering.edit
    series: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    fidelity: dict[str, list[float]] = {layer: [] for layer in rendering.layers}
    keyframes = {layer: edit.keyframes(layer) for layer in rendering.layers}
    measure = _Measure(rendering, ChangeSeries(rendering), keyframes, clip.flow("forward"), clip.flow("backward"))
    seen, change = learned.series(edit), measure.change
    with closing(in_order(measure.frame, _with_previous(rendering))) as measured:
        for one in Progress(measured, "edit", clip.frames, unit="frame", quiet=quiet):
            for name, of_both in one.of_pair.items():
                for which, value in of_both.items():
                    series[name][which].append(value)
            if one.previous is not None and one.valid is not None and one.flow is not None:
                for which, before, image in zip(_BOTH, one.previous, one.now, strict=True):
                    seen.add_pair(which, before, image, one.flow, one.valid)
            seen.add(*one.now)
            change.append(one.change)
            for layer, value in one.fidelity.items():
                fidelity[layer].append(value)

    values: dict[str, Any] = {
        name: {which: metrics.average(series[name][which]) for which in ("edit", "source")} for name in series
    }
    if "warp_error" in values:
        values["pixel_mse"] = {which: metrics.PIXEL_MSE * value for which, value in values["warp_error"].items()}
        against = values.pop("against_first")
        values["long_term_warp_error"] = {which: (against[which] + values["warp_error"][which]) / 2 for which in against}
    for value in values.values():
        value["ratio"] = metrics.ratio(value["edit"], value["source"])
    values |= change.values()
    kept, not_kept = kept_from(rendering, values["sharpness"]["edit"], quiet=quiet)
    of_layers = {"keyframe_fidelity": {layer: metrics.average(f) for layer, f in fidelity.items()}}
    of_layers |= through_maps()
    absent = _absent_alone(clip.frames) | _absent_keyframes(edit, of_layers) | _absent_of_frames(rendering)
    by_networks = seen.values() | {"absent": seen.absent | absent | not_kept}
    return values | kept | of_layers | {"oracle": _oracle(edit, rendering.made_from())} | by_networks


_Both = tuple[np.ndarray, np.ndarray]
"""A frame of the source and of the edit."""
_BOTH = ("source", "edit")


@dataclass(frozen=True)
class _Frame:
    """A frame and the one before it."""

    index: int
    now: _Both
    previous: _Both | None
    first: _Both


@dataclass(frozen=True)
class _Measured:
    """What was measured of one frame, and what it was measured on."""

    now: _Both
    previous: _Both | None
    flow: np.ndarray | None
    valid: np.ndarray | None
    of_pair: dict[str, dict[str, float]]
    change: Changed
    fidelity: dict[str, float]


def _with_previous(rendering: Rendering) -> Iterator[_Frame]:
    """Render the frames one after the other."""
    first = previous = None
    for index, now in enumerate(rendering.frames()):
        first = first or now
        yield _Frame(index, now, previous, first)
        previous = now


@dataclass(frozen=True)
class _Measure:
    """What frames are measured by, each for itself, so that several can be at once."""

    rendering: Rendering
    change: ChangeSeries
    keyframes: dict[str, dict[int, Path]]
    forward: StoredArray
    backward: StoredArray

    def frame(self, frame: _Frame) -> _Measured:
        clip, maps, index = self.rendering.clip, self.rendering.maps, frame.index
        flow = valid = None
        of_pair: dict[str, dict[str, float]] = {}
        if frame.previous is not None:
            flow = self.forward[index - 1]
            valid = flow_validity(flow, self.backward[index - 1])
            start, now = frame.first[0], frame.now[0]
            from_start = dense_flow(start, now)
            valid_from_start = flow_validity(from_start, dense_flow(now, start))
            of_pair["warp_error"] = _warp_errors(frame.previous, frame.now, flow, valid)
            of_pair["against_first"] = _warp_errors(frame.first, frame.now, from_start, valid_from_start)
        fidelity = {}
        for layer, files in self.keyframes.items():
            if maps and index in files:
                keyframe = read_keyframe(files[index], clip, index, frame.now[0])
                fidelity[layer] = metrics.keyframe_fidelity(keyframe, frame.now[1], maps.opacity(layer, index))
        return _Measured(frame.now, frame.previous, flow, valid, of_pair, self.change.of(index, *frame.now), fidelity)


def _warp_errors(before: _Both, now: _Both, flow: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    return dict(zip(_BOTH, metrics.warp_errors(zip(before, now, strict=True), flow, valid), strict=True))


def _through_maps(rendering: Rendering) -> dict[str, Any]:
    """Measure keyframe overlap and coverage per layer, which the atlas tells; of whole frames there are none."""
    clip, maps, edit = rendering.clip, rendering.maps, rendering.edit
    if maps is None:
        return {"keyframe_overlap": {}, "coverage": {}}
    overlaps = {layer: keyframe_overlap(clip, maps, edit, layer) for layer in edited_layers(rendering)}
    return {
        "keyframe_overlap": {layer: overlap and asdict(overlap) for layer, overlap in overlaps.items()},
        "coverage": {
            layer: covered_share(maps, layer, to_float(pair.edited)[..., 3]) for layer, pair in rendering.layers.items()
        },
    }


def _absent_alone(frames: int) -> dict[str, str]:
    """Say what a single frame cannot be measured by."""
    return {} if frames > 1 else dict.fromkeys((metric.key for metric in RATIOS), "a single frame has no neighbours")


def _absent_keyframes(edit: Edit, of_layers: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Say why keyframes of some layers cannot be compared with each other or with the film."""
    absent = {}
    for key, values in of_layers.items():
        for layer, value in values.items():
            if value is None or value != value:
                several = len(edit.keyframes(layer)) > 1
                none = "there are no keyframes" if not edit.keyframes(layer) else "there is one keyframe"
                absent[f"{key} of {layer}"] = "no two keyframes show the same place" if several else none
    return absent


def _absent_of_frames(rendering: Rendering) -> dict[str, str]:
    """Say what frames that were edited themselves cannot be measured by."""
    if rendering.laid is None:
        return {}
    of_layers = f" of {a_few(rendering.laid.layers)}" if rendering.maps else ""
    reason = f"every frame{of_layers} was edited: none is reached from another"
    absent = dict.fromkeys(("coverage", "keyframe_fidelity"), reason)
    return absent if rendering.maps else absent | {"keyframe_overlap": "whole frames have no atlas in which they overlap"}


def _oracle(edit: Edit, made_from: str) -> dict[str, Any] | None:
    """Read the oracle PSNR of this edit as it stands, if scripts/oracle.py measured it."""
    path = edit.oracle_path
    oracle = finite(read_json(path, finite=False)) if path.is_file() else {}
    if not isinstance(oracle, dict) or oracle.get("made_from") != made_from:
        return None
    for name in ("psnr", "no_edit_psnr"):
        value = oracle.setdefault(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{path} is damaged, its {name} is no number: delete it and run {ORACLE} again")
    return oracle
