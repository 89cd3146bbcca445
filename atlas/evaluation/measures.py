"""An edit's numbers as rows to read: name, value, and one line on how to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_RATIOS = {
    "warp_error": (
        "warp error",
        "how much neighbouring frames differ after following the source's motion (DIS flow), over the same for the source:"
        " about 1 is as steady as the footage, well above 1 flickers (a busier pattern raises it too)",
    ),
    "long_term_warp_error": ("long-term warp error", "the same, and against the first frame: above 1 is drift"),
    "pixel_mse": ("pixel-MSE", "the warp error's plain variant on a scale of 0 to 255, for comparison with published tables"),
}
_COSINES = {
    "clip_text": (
        "CLIP-text",
        ".2f",
        "how well frames suit the prompt, 100 times a cosine: about 20 is chance, 30 is close; above the source's is what the"
        " edit gained",
    ),
    "clip_frame": (
        "CLIP-frame",
        ".4f",
        "how alike neighbouring frames are in content: 1 is the same; the source's own is what to reach",
    ),
    "object_consistency": (
        "object consistency",
        ".4f",
        "the same by DINOv2, which looks at shapes and objects: the source's own is what to reach",
    ),
}
_FIT = {
    "psnr": ("reconstruction PSNR, dB", ".2f", "the layers put together against the frames: higher is better, 30 is good"),
    "ssim": ("reconstruction SSIM", ".4f", "the same as structural similarity: 1 is identical"),
    "fold_share": ("folded", ".2%", "share of the mapping that turns over, where an edit would appear mirrored: 0 is right"),
    "mask_iou": ("mask IoU", ".3f", "overlap of the fitted opacity and the given mask: 1 is the same outline"),
    "flow_disagreement": (
        "mapping against flow, px",
        ".3f",
        "how far the mapping and optical flow disagree from one frame to the next (median): under 0.5 sticks",
    ),
}


@dataclass(frozen=True)
class Measure:
    """One number of a report."""

    name: str
    value: str
    reading: str
    """How to read it."""


def edit_measures(edit: dict[str, Any]) -> list[Measure]:
    """Rows for an edit as `atlas.evaluation.stage.edited` measured it."""
    rows = []
    for key, (name, reading) in _RATIOS.items():
        if row := edit.get(key):
            form = ".2f" if key == "pixel_mse" else ".6f"
            text = f"{shown(row.get('ratio'), '.3f')} ({shown(row.get('edit'), form)} / {shown(row.get('source'), form)})"
            rows.append(Measure(f"{name}, edit / source", text, reading))
    rows += _learned_measures(edit)
    rows += _of_layers(
        edit.get("coverage"),
        "coverage",
        lambda value: shown(value, ".1%"),
        "share of the layer's visible pixels that the edit reaches; the rest keeps the original",
    )
    rows += _of_layers(
        edit.get("keyframe_fidelity"),
        "keyframes off by",
        lambda value: shown(value, ".4f"),
        "mean difference between each edited keyframe and the film there, of 1: under 0.03 is hard to see",
    )
    rows += _of_layers(
        edit.get("keyframe_overlap"),
        "keyframes differ by",
        lambda value: f"{shown(value.get('edited'), '.4f')} (unedited {shown(value.get('source'), '.4f')})" if value else "-",
        "where several keyframes show the same place, how far they disagree about it: much more than unedited blurs",
    )
    if oracle := edit.get("oracle"):
        text = f"{shown(oracle.get('psnr'), '.2f')} (no edit {shown(oracle.get('no_edit_psnr'), '.2f')})"
        rows.append(
            Measure(
                "oracle PSNR, dB",
                text,
                "against the known right answer, inside the layer, apart from keyframes: higher is better",
            )
        )
    return rows


def _learned_measures(edit: dict[str, Any]) -> list[Measure]:
    """Rows for what networks say, as far as there is any of it."""
    rows = []
    for key, (name, form, reading) in _COSINES.items():
        if row := edit.get(key):
            text = f"{shown(row.get('edit'), form)} (source {shown(row.get('source'), form)})"
            rows.append(Measure(name, text, reading))
    if row := edit.get("lpips"):
        text = f"{shown(row.get('ratio'), '.3f')} ({shown(row.get('edit'), '.4f')} / {shown(row.get('source'), '.4f')})"
        reading = "the warp error as eyes weigh it: neighbours after following the source's motion; about 1 is as steady"
        rows.append(Measure("LPIPS along the motion, edit / source", text, reading))
    if "lpips_from_source" in edit:
        reading = "how much the edit changed the picture as eyes weigh it: 0 is nothing; large is right for a bold edit only"
        rows.append(Measure("LPIPS, edit against source", shown(edit["lpips_from_source"], ".4f"), reading))
    return rows


def networks_used(edit: dict[str, Any]) -> str:
    """Which networks judged an edit, and by which prompt; empty where none did."""
    models = dict(edit.get("models") or {})
    prompt = models.pop("prompt", None)
    names = {"clip": "CLIP", "dino": "DINOv2", "lpips": "LPIPS"}
    said = ", ".join(f"{names.get(key, key)} by {model}" for key, model in models.items())
    return said + (f"; the prompt: {prompt}" if prompt else "")


def reasons(absent: dict[str, str]) -> list[tuple[str, str]]:
    """Metrics that cannot be had and why, those with the same reason together."""
    together: dict[str, list[str]] = {}
    for name, reason in absent.items():
        together.setdefault(reason, []).append(name)
    return [(", ".join(names), reason) for reason, names in together.items()]


def fit_measures(reconstruction: dict[str, Any]) -> list[Measure]:
    """Rows for a fit's reconstruction, whole frame and layers in one row for each number."""
    parts = {"whole frame": reconstruction.get("whole", {})} | reconstruction.get("layers", {})
    rows = []
    for key, (name, form, reading) in _FIT.items():
        values = {part: row[key] for part, row in parts.items() if key in row}
        if values:
            text = ", ".join(f"{part} {shown(value, form)}" for part, value in values.items())
            rows.append(Measure(name, text, reading))
    return rows


def _of_layers(values: dict[str, Any] | None, name: str, form: Callable[[Any], str], reading: str) -> list[Measure]:
    return [Measure(f"{name}, {layer}", form(value), reading) for layer, value in (values or {}).items()]


def shown(value: float | None, form: str) -> str:
    """A number as text; "-" where there is none."""
    return "-" if value is None else format(value, form)
