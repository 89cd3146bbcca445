"""Measures as text: the numbers of a fit or an edit in the words of the catalogue, for table, report and comparison alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atlas.evaluation.catalogue import (
    CHANGED,
    COSINES,
    FIT,
    LPIPS,
    LPIPS_FROM_SOURCE,
    OF_LAYERS,
    ORACLE,
    OVERLAP,
    POINTS,
    RATIOS,
    SHARPNESS,
    SHARPNESS_KEPT,
    Metric,
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
    key: str = ""
    """The metric's."""
    split: tuple[tuple[str, str], ...] = ()
    """Names and values of its parts, where it has several."""

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """What a comparison has of it: a name and a value for each row."""
        return self.split or ((self.name, self.value),)


def edit_measures(edit: dict[str, Any], *, missing: bool = False) -> list[Measure]:
    """Print an edit's numbers, as `atlas.evaluation.edit.edited` measured them, as measures.

    missing: with those that need no weights though they could not be had, as in a clip of one frame.
    """
    measures = [_ratio(metric, edit.get(metric.key) or {}) for metric in RATIOS if missing or edit.get(metric.key)]
    if "changed" in edit:
        measures.append(_single(CHANGED, edit["changed"]))
    if edit.get("sharpness"):
        measures.append(_ratio(SHARPNESS, edit["sharpness"]))
    if kept := edit.get("sharpness_kept"):
        text = shown(kept.get("ratio"), SHARPNESS_KEPT.form)
        phrase = f"{text} (of {kept.get('from')})"
        measures.append(
            Measure(
                SHARPNESS_KEPT.name,
                phrase,
                SHARPNESS_KEPT.reading,
                "ratio",
                _label(SHARPNESS_KEPT),
                ("", "", text),
                SHARPNESS_KEPT.key,
            )
        )
    measures += [_cosine(metric, edit[metric.key]) for metric in COSINES if edit.get(metric.key)]
    if edit.get("lpips"):
        measures.append(_ratio(LPIPS, edit["lpips"]))
    if "lpips_from_source" in edit:
        measures.append(_single(LPIPS_FROM_SOURCE, edit["lpips_from_source"]))
    for metric in OF_LAYERS:
        for layer, value in (edit.get(metric.key) or {}).items():
            text = shown(value, metric.form)
            phrase = f"{metric.name} {text}"
            name = f"{metric.name}, {layer}"
            measures.append(Measure(name, text, metric.reading, "layer", layer, (phrase,), metric.key))
    measures += [_overlap(layer, overlap) for layer, overlap in (edit.get("keyframe_overlap") or {}).items()]
    if oracle := edit.get("oracle"):
        psnr, unedited = (shown(oracle.get(key), ORACLE.form) for key in ("psnr", "no_edit_psnr"))
        phrase, text = f"oracle {psnr} dB, no edit {unedited} dB", f"{psnr} (no edit {unedited})"
        split = ((ORACLE.name, psnr), (f"{ORACLE.name}, no edit", unedited))
        measures.append(Measure(ORACLE.name, text, ORACLE.reading, "oracle", "", (phrase,), ORACLE.key, split))
    return measures


def _ratio(metric: Metric, row: dict[str, Any]) -> Measure:
    edit, source = (shown(row.get(side), metric.form) for side in ("edit", "source"))
    ratio = shown(row.get("ratio"), ".3f")
    text, cells = f"{ratio} ({edit} / {source})", (edit, source, ratio)
    split = ((f"{metric.name}, over the source's", ratio), (metric.name, edit))
    return Measure(f"{metric.name}, edit / source", text, metric.reading, "ratio", _label(metric), cells, metric.key, split)


def _single(metric: Metric, value: float | None) -> Measure:
    text = shown(value, metric.form)
    return Measure(metric.name, text, metric.reading, "ratio", _label(metric), (text,), metric.key)


def _cosine(metric: Metric, row: dict[str, Any]) -> Measure:
    edit, source = (shown(row.get(side), metric.form) for side in ("edit", "source"))
    cells = (edit, source, shown(row.get("difference"), "+" + metric.form))
    text = f"{edit} (source {source})"
    split = ((metric.name, edit), (f"{metric.name}, against the source's", cells[2]))
    return Measure(metric.name, text, metric.reading, "difference", _label(metric), cells, metric.key, split)


def _overlap(layer: str, overlap: dict[str, Any] | None) -> Measure:
    name = f"{OVERLAP.name}, {layer}"
    edited, unedited = (shown((overlap or {}).get(key), OVERLAP.form) for key in ("edited", "source"))
    split = ((name, edited), (f"{name}, unedited", unedited))
    if not overlap:
        return Measure(name, "-", OVERLAP.reading, "overlap", layer, (), OVERLAP.key, split)
    strategy = f" ({overlap['strategy']})" if overlap.get("strategy") else ""
    phrase = f"keyframes{strategy} differ by {edited} where they overlap, unedited by {unedited}"
    return Measure(name, f"{edited} (unedited {unedited})", OVERLAP.reading, "overlap", layer, (phrase,), OVERLAP.key, split)


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


def points_measures(points: dict[str, Any]) -> list[Measure]:
    """Print the numbers of marked points as measures: d_avg of all and of each layer, and which point is farthest off."""
    near, worst = (metric for metric in POINTS if metric.name)
    parts = [f"{layer} {shown(row[near.key], near.form)}" for layer, row in points["layers"].items()]
    count = points["points"]
    notes = [f"{count} point{'' if count == 1 else 's'}", ", ".join(parts), *filter(None, [left_out_of(points)])]
    return [
        Measure(near.name, f"{shown(points[near.key], near.form)} ({'; '.join(notes)})", near.reading, "fit"),
        Measure(worst.name, f"{shown(points[worst.key], worst.form)} ({worst_of(points)})", worst.reading, "fit"),
    ]


def points_parts(points: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """List what marked points are scored over, all first, with the numbers of each."""
    return {"all": points} | points["layers"]


def worst_of(points: dict[str, Any]) -> str:
    """Say which marked point is farthest off."""
    return f"line {points['row']} of {points['file']}, {points['layer']}, frame {points['frame_a']} to {points['frame_b']}"


def left_out_of(points: dict[str, Any]) -> str:
    """Say how many marked points of the clip were not followed; an empty string where all were."""
    count = points["left_out"]
    if not count:
        return ""
    return f"{count} more {'is' if count == 1 else 'are'} marked in frames of the source that the clip leaves out"


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
