"""Measure one edit: warp errors, change, sharpness, keyframe fidelity, coverage and overlap, beside the source's own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np
from tqdm import tqdm

from atlas.clip.edits import Edit, read_keyframe
from atlas.clip.flow import dense_flow, flow_validity
from atlas.errors import ORACLE, UserError, a_few
from atlas.evaluation.catalogue import RATIOS
from atlas.evaluation.change import ChangeSeries, edited_layers, kept_from
from atlas.evaluation.learned import Learned
from atlas.evaluation.overlap import keyframe_overlap
from atlas.maps.coverage import covered_share
from atlas.maps.maps import Maps
from atlas.metrics import definitions as metrics
from atlas.quality.summary import finite
from atlas.rendering.frames import Rendering
from atlas.storage.images import to_float
from atlas.storage.stamps import read_json, write_json


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
    clip, maps, edit = rendering.clip, rendering.maps, rendering.edit
    series: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    fidelity: dict[str, list[float]] = {layer: [] for layer in rendering.layers}
    keyframes = {layer: edit.keyframes(layer) for layer in rendering.layers}
    forward, backward = clip.flow("forward"), clip.flow("backward")
    seen, change = learned.series(edit), ChangeSeries(rendering)
    first: dict[str, np.ndarray] = {}
    previous: dict[str, np.ndarray] = {}
    frames = tqdm(rendering.frames(), total=clip.frames, desc="edit", unit="frame", disable=quiet)
    for index, (source, result) in enumerate(frames):
        now = {"source": source, "edit": result}
        if index:
            flow = forward[index - 1]
            valid = flow_validity(flow, backward[index - 1])
            from_start = dense_flow(first["source"], source)
            valid_from_start = flow_validity(from_start, dense_flow(source, first["source"]))
            for which, image in now.items():
                series["warp_error"][which].append(metrics.warp_error(previous[which], image, flow, valid))
                series["pixel_mse"][which].append(metrics.pixel_mse(previous[which], image, flow, valid))
                against_first = metrics.warp_error(first[which], image, from_start, valid_from_start)
                series["against_first"][which].append(against_first)
                seen.add_pair(which, previous[which], image, flow, valid)
        else:
            first = now
        seen.add(source, result)
        change.add(index, source, result)
        for layer, files in keyframes.items():
            if maps and index in files:
                keyframe = read_keyframe(files[index], clip, index)
                fidelity[layer].append(metrics.keyframe_fidelity(keyframe, result, maps.opacity(layer, index)))
        previous = now

    values: dict[str, Any] = {
        name: {which: metrics.average(series[name][which]) for which in ("edit", "source")} for name in series
    }
    if "against_first" in values:
        against = values.pop("against_first")
        values["long_term_warp_error"] = {which: (against[which] + values["warp_error"][which]) / 2 for which in against}
    for value in values.values():
        value["ratio"] = metrics.ratio(value["edit"], value["source"])
    values |= change.values()
    kept, not_kept = kept_from(rendering, values["sharpness"]["edit"], quiet=quiet)
    of_layers = {"keyframe_fidelity": {layer: metrics.average(f) for layer, f in fidelity.items()}}
    of_layers |= _through_maps(rendering, maps) if maps else {"keyframe_overlap": {}, "coverage": {}}
    absent = _absent_alone(clip.frames) | _absent_keyframes(edit, of_layers) | _absent_of_frames(rendering)
    by_networks = seen.values() | {"absent": seen.absent | absent | not_kept}
    return values | kept | of_layers | {"oracle": _oracle(edit, rendering.made_from())} | by_networks


def _through_maps(rendering: Rendering, maps: Maps) -> dict[str, Any]:
    """Measure keyframe overlap and coverage per layer, which the atlas tells."""
    clip, edit = rendering.clip, rendering.edit
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
