"""The table of measures that `evaluate` prints."""

from __future__ import annotations

from typing import Any

from atlas.evaluation.measures import networks_used, reasons


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
