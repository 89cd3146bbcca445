"""bench.md: the figures of a bench as tables to read."""

from __future__ import annotations

from typing import Any

from atlas.evaluation.measures import shown
from atlas.system.terminal import in_markdown
from scripts.benchmarks.fits import spelt
from scripts.benchmarks.methods.tables import methods_markdown
from scripts.benchmarks.targets import edits_markdown

_EXPLAINED = """\
asked: the budget given to `fit.py`, seconds; own: the preset's own schedule. took: wall seconds of `fit.py`, from the start of
its process to its end. dB: PSNR, mean over the frames; of a layer inside its opacity. above start: whole frame, against the
chained start (tracks without registration, atlases and light solved). flow px: median disagreement of the mapping with valid
flow. folded: share of the layer's pixels where the mapping folds. mask IoU: opacity at 0.5 against the masks. Several values in
a cell are the layers', front to back. steps, samples/s: gradient steps, and the pixels that they reconstruct in a second. RAM,
VRAM: peak MB of the fit's process."""
_TRUTH_EXPLAINED = """\
truth: pixels by which a point followed through the atlas into frames up to 15 away misses, median and 90th percentile; and IoU
of the opacity at 0.5 with the true one."""


def finished(run: dict[str, Any]) -> bool:
    """Whether a fit came to its end."""
    return "error" not in run


def of_a_preset(clip: dict[str, Any], preset: str) -> list[dict[str, Any]]:
    """The fits of a clip by one preset that came to their end."""
    return [run for run in clip["runs"] if run["preset"] == preset and finished(run)]


def above_start(clip: dict[str, Any], run: dict[str, Any]) -> float | None:
    """dB by which a fit's whole frame is better than the chained start's; None where one of them is missing."""
    start = clip["start"]
    if start is None or not finished(start) or None in (start["whole"]["psnr"], run["whole"]["psnr"]):
        return None
    return float(run["whole"]["psnr"] - start["whole"]["psnr"])


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: the machine, a table of fits for each clip, what its columns mean, then the edits."""
    lines = ["# Bench", "", f"`{report['command']}`", "", *_machine(report)]
    for clip in report["clips"]:
        lines += ["", *_table(clip)]
    if report["clips"]:
        truth = any("truth" in layer for clip in report["clips"] for run in clip["runs"] for layer in _layers(run))
        lines += ["", _EXPLAINED, *["", _TRUTH_EXPLAINED] * truth]
    for section in (edits_markdown(report["edits"]), methods_markdown(report["edits"])):
        lines += ["", *section] if section else []
    return "\n".join(lines)


def _machine(report: dict[str, Any]) -> list[str]:
    machine = report["machine"]
    runs = [run for clip in report["clips"] for run in clip["runs"] if run.get("device")]
    cores = f"{machine['cores']} cores" + (
        f", {machine['usable_cores']} of them usable" if machine["usable_cores"] != machine["cores"] else ""
    )
    gpus = sorted({run["device"] for run in runs if run.get("peak_vram_mb") is not None})
    versions = {"Python": machine["python"]} | machine["versions"]
    return [
        f"- {machine['name']}: {machine['processor']}, {cores}, {shown(machine['ram_gb'], '.1f')} GB RAM, {machine['system']}",
        *[f"- GPU: {', '.join(gpus)}"] * bool(gpus),
        "- " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"- commit {machine['commit'] or 'unknown'}; load at the start {shown(report['load'], '.2f')}",
        *[f"- {', '.join(f'{k}={v}' for k, v in machine['environment'].items())}"] * bool(machine["environment"]),
    ]


def _table(clip: dict[str, Any]) -> list[str]:
    layers, start = clip["layers"], clip["start"]
    done = [run for run in clip["runs"] if finished(run)]
    truth = any("truth" in layer for run in done for layer in _layers(run))
    vram = any(run["peak_vram_mb"] is not None for run in done)
    heads = ["preset", "asked", "took", "whole dB", "above start", *(f"{in_markdown(layer)} dB" for layer in layers)]
    heads += ["flow px", "folded", "mask IoU", *["truth px", "truth 90 %", "truth IoU"] * truth]
    heads += ["steps", "samples/s", "RAM", *["VRAM"] * vram]
    size = f"{clip['frames']} frames of {clip['width']}x{clip['height']}"
    lines = [f"## {in_markdown(clip['name'])}: {size}, {in_markdown(' / '.join(layers))}", ""]
    lines += [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    errors = []
    for run in [start, *clip["runs"]] if start else clip["runs"]:
        asked = "-" if run is start else spelt(run["seconds"])
        begin = ["chained start" if run is start else run["preset"], asked, f"{run['wall_seconds']:.1f}"]
        if finished(run):
            cells = begin + _figures(clip, run, truth, vram)
        else:
            cells = begin + ["failed"] + ["-"] * (len(heads) - len(begin) - 1)
            errors.append(f"{begin[0]}, {asked}: {in_markdown(run['error'])}")
        lines.append(f"| {' | '.join(cells)} |")
    if start and finished(start):
        before = shown(start["psnr_of_means"], ".2f")
        lines += ["", f"Chained start: {before} dB as the mean of all frames, before its atlases and light are solved."]
    return lines + [line for error in errors for line in ("", error)]


def _figures(clip: dict[str, Any], run: dict[str, Any], truth: bool, vram: bool) -> list[str]:
    """The cells from whole dB on."""
    layers = [run["layers"].get(layer, {}) for layer in clip["layers"]]
    above = None if run is clip["start"] else above_start(clip, run)
    cells = [shown(run["whole"]["psnr"], ".2f"), shown(above, "+.2f")]
    cells += [shown(layer.get("psnr"), ".2f") for layer in layers]
    cells += [_each(layers, "flow_disagreement", ".3f"), _each(layers, "fold_share", ".3%"), _each(layers, "mask_iou", ".3f")]
    if truth:
        true = [layer.get("truth", {}) for layer in layers]
        cells += [_each(true, "median", ".2f"), _each(true, "p90", ".2f"), _each(true, "opacity_iou", ".3f")]
    cells += [shown(run["steps"], "d"), shown(run["samples_per_second"], ".0f"), shown(run["peak_ram_mb"], ".0f")]
    return [*cells, *[shown(run["peak_vram_mb"], ".0f")] * vram]


def _layers(run: dict[str, Any]) -> list[dict[str, Any]]:
    return list(run.get("layers", {}).values())


def _each(layers: list[dict[str, Any]], name: str, form: str) -> str:
    """One value, or those of all layers that have one."""
    return " / ".join(shown(layer[name], form) for layer in layers if name in layer) or "-"
