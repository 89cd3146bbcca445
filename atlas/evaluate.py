"""How good a fit and an edit of it are: every number as atlas/metrics.py defines it, what cannot be had with the reason."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from atlas import metrics
from atlas.clip import Clip
from atlas.command import CommonOptions
from atlas.compositing import composite_frame
from atlas.cost import read_costs
from atlas.coverage import covered_share
from atlas.device import choose_device
from atlas.edits import Edit
from atlas.errors import UserError
from atlas.files import read_image, read_json, to_float, write_json
from atlas.flow import dense_flow, flow_validity
from atlas.maps import Maps
from atlas.rendering import Rendering, prepared_frames
from atlas.textures import Transfer, full_textures

_NEEDS_WEIGHTS = {
    "clip_text": "CLIP ViT-L/14",
    "clip_frame": "CLIP ViT-L/14",
    "object_consistency": "DINOv2",
    "lpips": "LPIPS (AlexNet)",
}
ORACLE = "oracle.json"


@dataclass(kw_only=True)
class EvaluateOptions(CommonOptions):
    """Measure a fit, and with --edit an edit of it. Numbers are also written to metrics.json in their folders."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    fit: str | None = None
    """Name of the fit. Default: that of the edit, else "default"."""
    edit: str | None = None
    """Name of an edit to measure as well."""
    mode: Literal["delta", "full"] = "delta"
    """How the edit is rendered for it, as in scripts/render.py."""
    transfer: Transfer = "local"
    """What becomes of detail that the fit does not hold, as in scripts/render.py."""
    json: bool = False
    """Print JSON instead of a table."""


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Measure; returns what is printed. A number that cannot be had is None, and `absent` says why.

    Frames stream: memory does not grow with the clip's length. UserError for an unknown fit or edit.
    """
    clip = Clip.open(options.clip)
    rendering = None
    if options.edit is not None:
        rendering = Rendering.open(options.clip, options.edit, mode=options.mode, transfer=options.transfer)
    fit = options.fit or (rendering.edit.fit if rendering else "default")
    if rendering and rendering.edit.fit != fit:
        raise UserError(f"edit {options.edit!r} stands on the fit {rendering.edit.fit!r}, not {fit!r}: leave out --fit")
    maps = rendering.maps if rendering else Maps(clip.fit_folder(fit))

    report: dict[str, Any] = {"clip": clip.name, "frames": clip.frames, "width": clip.width, "height": clip.height, "fit": fit}
    report["reconstruction"] = finite(reconstruction(clip, maps, quiet=options.quiet))
    _merge_into(maps.folder / "metrics.json", {"reconstruction": report["reconstruction"]})
    wanted = ["prepare", f"fit {fit}"]
    if rendering:
        report["edit"] = {"name": rendering.edit.name, "mode": options.mode} | finite(edited(rendering, quiet=options.quiet))
        report["absent"] = {name: f"needs the weights of {weights}" for name, weights in _NEEDS_WEIGHTS.items()}
        write_json(rendering.edit.folder / "metrics.json", report["edit"] | {"absent": report["absent"]})
        name = rendering.edit.name
        wanted += [f"{stage} {name} {layer}" for layer in rendering.layers for stage in ("edit", "aggregate")]
        wanted += [f"render {name}"]
    costs = read_costs(clip.folder)
    report["cost"] = {stage: costs[stage] for stage in wanted if stage in costs}
    return report


def reconstruction(clip: Clip, maps: Maps, *, quiet: bool = True) -> dict[str, Any]:
    """PSNR and SSIM of the composited layers against the frames, whole and where each layer is visible (opacity > 0.5).

    Beside them per layer the share of pixels where its mapping folds, and the IoU of its opacity and its mask.
    """
    textures = full_textures({}, maps, choose_device("auto"))
    whole: dict[str, list[float]] = defaultdict(list)
    layers: dict[str, dict[str, list[float]]] = {layer: defaultdict(list) for layer in maps.layers}
    frames = tqdm(prepared_frames(clip), total=clip.frames, desc="reconstruction", unit="frame", disable=quiet)
    for index, frame in enumerate(frames):
        result = composite_frame(index, maps, textures)
        visible_of = {layer: maps.opacity(layer, index) for layer in layers}
        whole_ssim, *layer_ssims = metrics.ssim_over(result, frame, [None, *visible_of.values()])
        whole["psnr"].append(metrics.psnr(result, frame))
        whole["ssim"].append(whole_ssim)
        for (layer, values), similarity in zip(layers.items(), layer_ssims, strict=True):
            visible = visible_of[layer]
            values["psnr"].append(metrics.psnr(result, frame, visible))
            values["ssim"].append(similarity)
            values["fold_share"].append(metrics.fold_share(maps.uv(layer, index), visible))
            if layer in clip.objects:
                values["mask_iou"].append(metrics.iou(visible, clip.mask(layer, index)))
    return {"whole": _averages(whole), "layers": {layer: _averages(values) for layer, values in layers.items()}}


def edited(rendering: Rendering, *, quiet: bool = True) -> dict[str, Any]:
    """Warp errors of the rendered edit with the source's own beside them, keyframe fidelity and coverage per layer."""
    clip, maps, edit = rendering.clip, rendering.maps, rendering.edit
    series: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    fidelity: dict[str, list[float]] = {layer: [] for layer in rendering.layers}
    keyframes = {layer: edit.keyframes(layer) for layer in rendering.layers}
    forward, backward = clip.flow("forward"), clip.flow("backward")
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
        else:
            first = now
        for layer, files in keyframes.items():
            if index in files:
                keyframe = read_image(files[index], mode="rgba")
                fidelity[layer].append(metrics.keyframe_fidelity(keyframe, result, maps.opacity(layer, index)))
        previous = now

    values = {name: {which: metrics.average(series[name][which]) for which in ("edit", "source")} for name in series}
    if "against_first" in values:
        against = values.pop("against_first")
        values["long_term_warp_error"] = {which: (against[which] + values["warp_error"][which]) / 2 for which in against}
    for value in values.values():
        value["ratio"] = metrics.ratio(value["edit"], value["source"])
    coverage = {layer: covered_share(maps, layer, to_float(pair.edited)[..., 3]) for layer, pair in rendering.layers.items()}
    result_of_layers = {"keyframe_fidelity": {layer: metrics.average(f) for layer, f in fidelity.items()}, "coverage": coverage}
    return values | result_of_layers | {"oracle": _oracle(edit, rendering.made_from())}


def _oracle(edit: Edit, made_from: str) -> dict[str, Any] | None:
    """What scripts/oracle.py found out about this edit as it stands, if it did."""
    path = edit.folder / ORACLE
    oracle = read_json(path) if path.is_file() else {}
    return oracle if isinstance(oracle, dict) and oracle.get("made_from") == made_from else None


def _averages(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: metrics.average_db(series) if name == "psnr" else metrics.average(series) for name, series in values.items()}


def finite(value: Any) -> Any:
    """NaN is not JSON: None instead, all through."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _merge_into(path: Path, values: dict[str, Any]) -> None:
    known = read_json(path) if path.is_file() else {}
    write_json(path, (known if isinstance(known, dict) else {}) | values)


def table(report: dict[str, Any]) -> str:
    """The report as text to read."""
    lines = [f"{report['clip']}: {report['frames']} frames of {report['width']}x{report['height']}, fit {report['fit']}", ""]
    parts = {"whole frame": report["reconstruction"]["whole"]} | report["reconstruction"]["layers"]
    lines.append(f"{'reconstruction':<22}{'PSNR dB':>10}{'SSIM':>10}{'folded':>10}{'mask IoU':>10}")
    for name, row in parts.items():
        cells = [_cell(row.get("psnr"), ".2f"), _cell(row.get("ssim"), ".4f")]
        cells += [_cell(row.get("fold_share"), ".2%"), _cell(row.get("mask_iou"), ".3f")]
        lines.append(f"  {name:<20}" + "".join(f"{cell:>10}" for cell in cells))
    if edit := report.get("edit"):
        lines += ["", f"{'edit ' + edit['name']:<22}{'edit':>10}{'source':>10}{'ratio':>10}"]
        for name in ("warp_error", "long_term_warp_error", "pixel_mse"):
            row = edit.get(name, {})
            form = ".2f" if name == "pixel_mse" else ".6f"
            cells = [_cell(row.get("edit"), form), _cell(row.get("source"), form), _cell(row.get("ratio"), ".3f")]
            lines.append(f"  {name.replace('_', ' '):<20}" + "".join(f"{cell:>10}" for cell in cells))
        for layer, share in edit["coverage"].items():
            lines.append(
                f"  {layer}: coverage {_cell(share, '.1%')}, keyframes off by {_cell(edit['keyframe_fidelity'][layer], '.4f')}"
            )
        if oracle := edit["oracle"]:
            lines.append(f"  oracle {_cell(oracle['psnr'], '.2f')} dB, no edit {_cell(oracle['no_edit_psnr'], '.2f')} dB")
        lines += [f"  {name}: absent, {reason}" for name, reason in report["absent"].items()]
    if report["cost"]:
        lines += ["", f"{'cost':<22}{'wall s':>10}{'CPU s':>10}{'RAM MB':>10}{'VRAM MB':>10}  machine"]
    for stage, cost in report["cost"].items():
        cells = [_cell(cost.get(key), ".1f") for key in ("wall_seconds", "cpu_seconds", "peak_ram_mb", "peak_vram_mb")]
        machine = f"{cost.get('machine')}, {cost.get('cpus')} cores, {cost.get('device')}"
        lines.append(f"  {stage:<20}" + "".join(f"{cell:>10}" for cell in cells) + f"  {machine}")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def printed(options: EvaluateOptions) -> dict[str, Any] | str:
    """What the command prints: the report as JSON or as a table."""
    report = evaluate(options)
    return report if options.json else table(report)
