"""How good a fit and an edit of it are: every number as atlas/metrics.py defines it, what cannot be had with the reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from atlas.clip import Clip
from atlas.command import CommonOptions
from atlas.cost import read_costs
from atlas.errors import UserError
from atlas.evaluate_edit import measure_edit
from atlas.frame_series import measure_frames
from atlas.learned import Learned, LearnedOptions
from atlas.mapping_metrics import mapping_accuracy, open_truth
from atlas.maps import Maps
from atlas.measures import networks_used, reasons
from atlas.quality import finite, report_quality
from atlas.rendering import Rendering
from atlas.textures import Light, Transfer


@dataclass(kw_only=True)
class EvaluateOptions(LearnedOptions, CommonOptions):
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
    light: Light = "auto"
    """Whether the fit's light is applied to the edit, as in scripts/render.py."""
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
    rendering = None if options.edit is None else opened(options, options.edit)
    fit = options.fit or (rendering.edit.fit if rendering else "default")
    if rendering and rendering.edit.fit != fit:
        raise UserError(f"edit {options.edit!r} stands on the fit {rendering.edit.fit!r}, not {fit!r}: leave out --fit")
    maps = rendering.maps if rendering else Maps(clip.fit_folder(fit))
    truth = None if options.truth is None else open_truth(options.truth, maps)

    options.check_weights(with_edit=rendering is not None)
    learned = Learned.open(options) if rendering else None

    report: dict[str, Any] = {"clip": clip.name, "frames": clip.frames, "width": clip.width, "height": clip.height, "fit": fit}
    series = measure_frames(clip, maps, quiet=options.quiet)
    report["reconstruction"] = finite(series.averages())
    report["weaknesses"] = [finite(asdict(weakness)) for weakness in report_quality(maps.folder, clip, series, maps)]
    if truth:
        report["truth"] = {layer: finite(asdict(found)) for layer, found in mapping_accuracy(maps, truth).items()}
    wanted = ["prepare", f"fit {fit}"]
    if rendering and learned:
        report["edit"] = measure_edit(rendering, learned, quiet=options.quiet)
        report["absent"] = report["edit"].pop("absent")
        name = rendering.edit.name
        wanted += [f"{stage} {name} {layer}" for layer in rendering.layers for stage in ("edit", "aggregate")]
        wanted += [f"render {name}"]
    costs = read_costs(clip.folder)
    report["cost"] = {stage: costs[stage] for stage in wanted if stage in costs}
    return report


def opened(options: EvaluateOptions, name: str) -> Rendering:
    """The edit of this name, ready to be rendered as the options say."""
    how: dict[str, Any] = {name: getattr(options, name) for name in ("mode", "transfer", "light", "device")}
    return Rendering.open(options.clip, name, quiet=options.quiet, **how)


def reconstruction(clip: Clip, maps: Maps, *, quiet: bool = True) -> dict[str, Any]:
    """The clip's averages of `FrameSeries`: PSNR and SSIM, folds, flow disagreement and mask IoU, whole and per layer."""
    return measure_frames(clip, maps, quiet=quiet).averages()


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
        lines += _learned(edit)
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
        lines += [f"  {names}: absent, {reason}" for names, reason in reasons(report["absent"])]
    if report["cost"]:
        lines += ["", f"{'cost':<22}{'wall s':>10}{'CPU s':>10}{'RAM MB':>10}{'VRAM MB':>10}  machine"]
    for stage, cost in report["cost"].items():
        cells = [_cell(cost.get(key), ".1f") for key in ("wall_seconds", "cpu_seconds", "peak_ram_mb", "peak_vram_mb")]
        machine = f"{cost.get('machine')}, {cost.get('cpus')} cores, {cost.get('device')}"
        lines.append(f"  {stage:<20}" + "".join(f"{cell:>10}" for cell in cells) + f"  {machine}")
    return "\n".join(lines)


def _learned(edit: dict[str, Any]) -> list[str]:
    """What networks say about the edit, as far as there is any of it."""
    lines = []
    if row := edit.get("lpips"):
        cells = [_cell(row.get(which), ".4f") for which in ("edit", "source")] + [_cell(row.get("ratio"), ".3f")]
        lines.append(f"  {'lpips':<20}" + "".join(f"{cell:>10}" for cell in cells))
    if "lpips_from_source" in edit:
        lines.append(f"  {'lpips from source':<20}{_cell(edit['lpips_from_source'], '.4f'):>10}")
    rows = {name: edit[name] for name in ("clip_text", "clip_frame", "object_consistency") if name in edit}
    if rows:
        lines.append(f"  {'embeddings':<20}{'edit':>10}{'source':>10}{'difference':>11}")
    for name, row in rows.items():
        form = ".2f" if name == "clip_text" else ".4f"
        cells = [_cell(row[which], form) for which in ("edit", "source")] + [_cell(row["difference"], "+" + form)]
        lines.append(f"  {name.replace('_', ' '):<20}{cells[0]:>10}{cells[1]:>10}{cells[2]:>11}")
    if used := networks_used(edit):
        lines.append(f"  {used}")
    return lines


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
