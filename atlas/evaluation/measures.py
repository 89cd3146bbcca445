"""Measures as text: every metric's name, number format and reading, for the table, the report and the comparison alike.

A new metric is named here and shown everywhere: a `Metric` in the list that it belongs to. How it is computed stands in
`atlas.metrics.definitions`; where, in `atlas.quality.series` for fits and `atlas.evaluation.edit` for edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """One metric: where its number stands in the results, how that is printed, and how it is to be read."""

    key: str
    form: str
    """Format of the number."""
    name: str = ""
    """What the report calls it; empty for what only the table shows."""
    reading: str = ""
    """One line on how to read it."""
    column: str = ""
    """Heading of its column in the table."""


FIT = (
    Metric(
        "psnr",
        ".2f",
        "reconstruction PSNR, dB",
        "the layers put together against the frames: higher is better, 30 is good",
        "PSNR dB",
    ),
    Metric("ssim", ".4f", "reconstruction SSIM", "the same as structural similarity: 1 is identical", "SSIM"),
    Metric(
        "fold_share",
        ".2%",
        "folded",
        "share of the mapping that turns over, where an edit would appear mirrored: 0 is right",
        "folded",
    ),
    Metric(
        "mask_iou", ".3f", "mask IoU", "overlap of the fitted opacity and the given mask: 1 is the same outline", "mask IoU"
    ),
    Metric(
        "flow_disagreement",
        ".3f",
        "mapping against flow, px",
        "how far the mapping and optical flow disagree from one frame to the next (median): under 0.5 sticks",
        "flow px",
    ),
    Metric("flow_disagreement_p90", ".3f", column="90 %"),
)
"""Of a fit's reconstruction, whole and for each layer."""
TRUTH = (
    Metric("median", ".3f", column="median px"),
    Metric("p90", ".3f", column="90 % px"),
    Metric("opacity_iou", ".4f", column="IoU"),
)
"""Of a layer's mapping against true maps."""
COST = (
    Metric("wall_seconds", ".1f", column="wall s"),
    Metric("cpu_seconds", ".1f", column="CPU s"),
    Metric("peak_ram_mb", ".1f", column="RAM MB"),
    Metric("peak_vram_mb", ".1f", column="VRAM MB"),
)
"""Of a stage: time and memory."""
_RATIOS = (
    Metric(
        "warp_error",
        ".6f",
        "warp error",
        "how much neighbouring frames differ after following the source's motion (DIS flow), over the same for the source:"
        " about 1 is as steady as the footage, well above 1 flickers (a busier pattern raises it too)",
    ),
    Metric("long_term_warp_error", ".6f", "long-term warp error", "the same, and against the first frame: above 1 is drift"),
    Metric(
        "pixel_mse",
        ".2f",
        "pixel-MSE",
        "the warp error's plain variant on a scale of 0 to 255, for comparison with published tables",
    ),
)
_COSINES = (
    Metric(
        "clip_text",
        ".2f",
        "CLIP-text",
        "how well frames suit the prompt, 100 times a cosine: about 20 is chance, 30 is close; above the source's is what the"
        " edit gained",
    ),
    Metric(
        "clip_frame",
        ".4f",
        "CLIP-frame",
        "how alike neighbouring frames are in content: 1 is the same; the source's own is what to reach",
    ),
    Metric(
        "object_consistency",
        ".4f",
        "object consistency",
        "the same by DINOv2, which looks at shapes and objects: the source's own is what to reach",
    ),
)
_LPIPS = Metric(
    "lpips",
    ".4f",
    "LPIPS along the motion",
    "the warp error as eyes weigh it: neighbours after following the source's motion; about 1 is as steady",
)
_LPIPS_FROM_SOURCE = Metric(
    "lpips_from_source",
    ".4f",
    "LPIPS, edit against source",
    "how much the edit changed the picture as eyes weigh it: 0 is nothing; large is right for a bold edit only",
)
_OF_LAYERS = (
    Metric(
        "coverage",
        ".1%",
        "coverage",
        "share of the layer's visible pixels that the edit reaches; the rest keeps the original",
    ),
    Metric(
        "keyframe_fidelity",
        ".4f",
        "keyframes off by",
        "mean difference between each edited keyframe and the film there, of 1: under 0.03 is hard to see",
    ),
)
_OVERLAP = Metric(
    "keyframe_overlap",
    ".4f",
    "keyframes differ by",
    "where several keyframes show the same place, how far they disagree about it: much more than unedited blurs",
)
_ORACLE = Metric(
    "oracle",
    ".2f",
    "oracle PSNR, dB",
    "against the known right answer, inside the layer, apart from keyframes: higher is better",
)


@dataclass(frozen=True)
class Measure:
    """A metric with its value, as text: a row of the report, and what the table has of it."""

    name: str
    value: str
    reading: str
    """How to read it."""
    block: Literal["ratio", "difference", "layer", "overlap", "oracle", "fit"]
    """The part of the table that it stands in."""
    label: str = ""
    """What the table calls it: its row, or the layer that it is of."""
    cells: tuple[str, ...] = ()
    """What the table has of it: a cell for each column, or parts of a sentence; empty where it has nothing."""


def edit_measures(edit: dict[str, Any], *, missing: bool = False) -> list[Measure]:
    """Print an edit's numbers, as `atlas.evaluation.edit.edited` measured them, as measures.

    missing: with those that need no weights though they could not be had, as in a clip of one frame.
    """
    measures = [_ratio(metric, edit.get(metric.key) or {}) for metric in _RATIOS if missing or edit.get(metric.key)]
    measures += [_cosine(metric, edit[metric.key]) for metric in _COSINES if edit.get(metric.key)]
    if edit.get("lpips"):
        measures.append(_ratio(_LPIPS, edit["lpips"]))
    if "lpips_from_source" in edit:
        metric, text = _LPIPS_FROM_SOURCE, shown(edit["lpips_from_source"], _LPIPS_FROM_SOURCE.form)
        measures.append(Measure(metric.name, text, metric.reading, "ratio", _label(metric), (text,)))
    for metric in _OF_LAYERS:
        for layer, value in (edit.get(metric.key) or {}).items():
            text = shown(value, metric.form)
            phrase = f"{metric.name} {text}"
            measures.append(Measure(f"{metric.name}, {layer}", text, metric.reading, "layer", layer, (phrase,)))
    measures += [_overlap(layer, overlap) for layer, overlap in (edit.get("keyframe_overlap") or {}).items()]
    if oracle := edit.get("oracle"):
        psnr, unedited = (shown(oracle.get(key), _ORACLE.form) for key in ("psnr", "no_edit_psnr"))
        phrase = f"oracle {psnr} dB, no edit {unedited} dB"
        text = f"{psnr} (no edit {unedited})"
        measures.append(Measure(_ORACLE.name, text, _ORACLE.reading, "oracle", cells=(phrase,)))
    return measures


def _ratio(metric: Metric, row: dict[str, Any]) -> Measure:
    edit, source = (shown(row.get(side), metric.form) for side in ("edit", "source"))
    ratio = shown(row.get("ratio"), ".3f")
    text = f"{ratio} ({edit} / {source})"
    return Measure(f"{metric.name}, edit / source", text, metric.reading, "ratio", _label(metric), (edit, source, ratio))


def _cosine(metric: Metric, row: dict[str, Any]) -> Measure:
    edit, source = (shown(row.get(side), metric.form) for side in ("edit", "source"))
    cells = (edit, source, shown(row.get("difference"), "+" + metric.form))
    return Measure(metric.name, f"{edit} (source {source})", metric.reading, "difference", _label(metric), cells)


def _overlap(layer: str, overlap: dict[str, Any] | None) -> Measure:
    name = f"{_OVERLAP.name}, {layer}"
    if not overlap:
        return Measure(name, "-", _OVERLAP.reading, "overlap", layer)
    edited, unedited = (shown(overlap.get(key), _OVERLAP.form) for key in ("edited", "source"))
    strategy = f" ({overlap['strategy']})" if overlap.get("strategy") else ""
    phrase = f"keyframes{strategy} differ by {edited} where they overlap, unedited by {unedited}"
    return Measure(name, f"{edited} (unedited {unedited})", _OVERLAP.reading, "overlap", layer, (phrase,))


def _label(metric: Metric) -> str:
    return metric.key.replace("_", " ")


def fit_measures(reconstruction: dict[str, Any]) -> list[Measure]:
    """Print the numbers of a fit's reconstruction as measures, whole frame and layers in one row for each."""
    parts = fit_parts(reconstruction)
    measures = []
    for metric in FIT:
        values = {part: row[metric.key] for part, row in parts.items() if metric.key in row}
        if values and metric.name:
            text = ", ".join(f"{part} {shown(value, metric.form)}" for part, value in values.items())
            measures.append(Measure(metric.name, text, metric.reading, "fit"))
    return measures


def fit_parts(reconstruction: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """List what a reconstruction is measured over, the whole frame first, with the numbers of each."""
    return {"whole frame": reconstruction.get("whole", {})} | reconstruction.get("layers", {})


def networks_used(edit: dict[str, Any]) -> str:
    """Name the networks that judged an edit, and by which prompt; empty where none did."""
    models = dict(edit.get("models") or {})
    prompt = models.pop("prompt", None)
    names = {"clip": "CLIP", "dino": "DINOv2", "lpips": "LPIPS"}
    networks = ", ".join(f"{names.get(key, key)} by {model}" for key, model in models.items())
    return networks + (f"; the prompt: {prompt}" if prompt else "")


def reasons(absent: dict[str, str]) -> list[tuple[str, str]]:
    """List the metrics that cannot be had and why, those with the same reason together."""
    together: dict[str, list[str]] = {}
    for name, reason in absent.items():
        together.setdefault(reason, []).append(name)
    return [(", ".join(names), reason) for reason, names in together.items()]


def machine_of(cost: dict[str, Any]) -> str:
    """Name the machine that a stage ran on."""
    return f"{cost.get('machine')}, {cost.get('cpus')} cores, {cost.get('device')}"


def cells_of(row: dict[str, Any], metrics: Sequence[Metric]) -> list[str]:
    """Print the number of each metric in a row of results."""
    return [shown(row.get(metric.key), metric.form) for metric in metrics]


def shown(value: float | None, form: str) -> str:
    """Print a number; "-" where there is none."""
    return "-" if value is None else format(value, form)
