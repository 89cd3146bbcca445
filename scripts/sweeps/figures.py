"""Figures of a sweep's rows: what is taken from an evaluation, what it is called, and which way is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Figure:
    """A number of a row."""

    key: str
    """Its column."""
    title: str
    form: str
    better: Better
    of: Callable[[dict[str, Any]], float | None]
    """Takes it from what `evaluate.py --json` prints."""


def _edit(key: str, part: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda report: _number(((report.get("edit") or {}).get(key) or {}).get(part))


def _plain(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda report: _number((report.get("edit") or {}).get(key))


def _layers(key: str, part: str | None = None) -> Callable[[dict[str, Any]], float | None]:
    """Mean over an edit's layers."""

    def mean(report: dict[str, Any]) -> float | None:
        of_layers = ((report.get("edit") or {}).get(key) or {}).values()
        found = [_number(one.get(part) if part and isinstance(one, dict) else one) for one in of_layers]
        known = [value for value in found if value is not None]
        return fmean(known) if known else None

    return mean


def _whole(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda report: _number(((report.get("reconstruction") or {}).get("whole") or {}).get(key))


def _fit(key: str) -> Callable[[dict[str, Any]], float | None]:
    """Mean over a fit's layers."""

    def mean(report: dict[str, Any]) -> float | None:
        of_layers = ((report.get("reconstruction") or {}).get("layers") or {}).values()
        known = [value for one in of_layers if (value := _number(one.get(key))) is not None]
        return fmean(known) if known else None

    return mean


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


FIGURES = {
    figure.key: figure
    for figure in (
        Figure("overlap", "keyframes differ by", ".4f", "lower", _layers("keyframe_overlap", "edited")),
        Figure("overlap_source", "unedited ones by", ".4f", "", _layers("keyframe_overlap", "source")),
        Figure("warp_error", "warp error, over the source's", ".3f", "lower", _edit("warp_error", "ratio")),
        Figure("long_term", "long-term warp error, over the source's", ".3f", "lower", _edit("long_term_warp_error", "ratio")),
        Figure("fidelity", "keyframes off by", ".4f", "lower", _layers("keyframe_fidelity")),
        Figure("coverage", "coverage", ".3f", "higher", _layers("coverage")),
        Figure("changed", "changed", ".4f", "", _plain("changed")),
        Figure("sharpness", "sharpness, over the source's", ".3f", "", _edit("sharpness", "ratio")),
        Figure("clip_text", "CLIP-text", ".2f", "higher", _edit("clip_text", "edit")),
        Figure("clip_frame", "CLIP-frame", ".4f", "higher", _edit("clip_frame", "edit")),
        Figure("object_consistency", "object consistency", ".4f", "higher", _edit("object_consistency", "edit")),
        Figure("lpips", "LPIPS along the motion, over the source's", ".3f", "lower", _edit("lpips", "ratio")),
        Figure("psnr", "reconstruction, dB", ".2f", "higher", _whole("psnr")),
        Figure("ssim", "SSIM", ".4f", "higher", _whole("ssim")),
        Figure("flow_px", "mapping against flow, px", ".3f", "lower", _fit("flow_disagreement")),
        Figure("slide_px", "slide, px", ".2f", "lower", _fit("slide")),
    )
}
"""By column. Costs stand beside them: cpu_seconds and peak_mb, of all stages of a row."""


def figures_of_report(report: dict[str, Any]) -> dict[str, float | None]:
    """All figures of a report; None where one cannot be had."""
    return {key: figure.of(report) for key, figure in FIGURES.items()}
