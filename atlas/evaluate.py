"""How good a fit and an edit of it are: every number as atlas/metrics.py defines it, what cannot be had with the reason."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from atlas import metrics
from atlas.clip import Clip
from atlas.command import CommonOptions
from atlas.cost import read_costs
from atlas.coverage import covered_share
from atlas.edits import Edit
from atlas.errors import UserError
from atlas.files import read_image, read_json, to_float, write_json
from atlas.flow import dense_flow, flow_validity
from atlas.frame_series import measure_frames
from atlas.mapping_metrics import mapping_accuracy, open_truth
from atlas.maps import Maps
from atlas.overlap import keyframe_overlap
from atlas.quality import finite, report_quality
from atlas.rendering import Rendering
from atlas.textures import Transfer

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
    truth: Path | None = None
    """Folder with the true maps of the clip (a sample's truth/): the mapping is compared with them as well."""
    report: bool = False
    """With --edit: also write report.html in the edit's folder, one file with film, pictures and numbers, to be passed on."""
    compare: tuple[str, ...] = ()
    """Names of several edits: measure each and print them in one table (--report: also edits/comparison.html)."""
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
    truth = None if options.truth is None else open_truth(options.truth, maps)

    report: dict[str, Any] = {"clip": clip.name, "frames": clip.frames, "width": clip.width, "height": clip.height, "fit": fit}
    series = measure_frames(clip, maps, quiet=options.quiet)
    report["reconstruction"] = finite(series.averages())
    report["weaknesses"] = [finite(asdict(weakness)) for weakness in report_quality(maps.folder, clip, series, maps)]
    if truth:
        report["truth"] = {layer: finite(asdict(found)) for layer, found in mapping_accuracy(maps, truth).items()}
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
    """The clip's averages of `FrameSeries`: PSNR and SSIM, folds, flow disagreement and mask IoU, whole and per layer."""
    return measure_frames(clip, maps, quiet=quiet).averages()


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
    overlaps = {layer: keyframe_overlap(clip, maps, edit, layer) for layer in rendering.layers}
    of_layers = {
        "keyframe_fidelity": {layer: metrics.average(f) for layer, f in fidelity.items()},
        "keyframe_overlap": {layer: found and asdict(found) for layer, found in overlaps.items()},
        "coverage": coverage,
    }
    return values | of_layers | {"oracle": _oracle(edit, rendering.made_from())}


def _oracle(edit: Edit, made_from: str) -> dict[str, Any] | None:
    """What scripts/oracle.py found out about this edit as it stands, if it did."""
    path = edit.folder / ORACLE
    oracle = read_json(path) if path.is_file() else {}
    return oracle if isinstance(oracle, dict) and oracle.get("made_from") == made_from else None


def table(report: dict[str, Any]) -> str:
    """The report as text to read."""
    lines = [f"{report['clip']}: {report['frames']} frames of {report['width']}x{report['height']}, fit {report['fit']}", ""]
    parts = {"whole frame": report["reconstruction"]["whole"]} | report["reconstruction"]["layers"]
    lines.append(f"{'reconstruction':<22}{'PSNR dB':>10}{'SSIM':>10}{'folded':>10}{'mask IoU':>10}{'flow px':>10}{'90 %':>10}")
    for name, row in parts.items():
        cells = [_cell(row.get("psnr"), ".2f"), _cell(row.get("ssim"), ".4f")]
        cells += [_cell(row.get("fold_share"), ".2%"), _cell(row.get("mask_iou"), ".3f")]
        cells += [_cell(row.get("flow_disagreement"), ".3f"), _cell(row.get("flow_disagreement_p90"), ".3f")]
        lines.append(f"  {name:<20}" + "".join(f"{cell:>10}" for cell in cells))
    if truth := report.get("truth"):
        lines += ["", f"{'mapping against truth':<22}{'median px':>10}{'90 % px':>10}{'IoU':>10}"]
    for layer, row in (truth or {}).items():
        cells = [_cell(row["median"], ".3f"), _cell(row["p90"], ".3f"), _cell(row["opacity_iou"], ".4f")]
        lines.append(f"  {layer:<20}" + "".join(f"{cell:>10}" for cell in cells))
    if report["weaknesses"]:
        lines += ["", *(f"weak: {weakness['sentence']}; {weakness['advice']}" for weakness in report["weaknesses"])]
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
        for layer, overlap in edit["keyframe_overlap"].items():
            if overlap:
                how = f" ({overlap['strategy']})" if overlap["strategy"] else ""
                found, unedited = (_cell(overlap[which], ".4f") for which in ("edited", "source"))
                lines.append(f"  {layer}: keyframes{how} differ by {found} where they overlap, unedited by {unedited}")
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
