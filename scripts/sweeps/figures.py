"""Figures of a sweep's rows: what is taken from an evaluation, what it is called, and which way is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

Better = Literal["lower", "higher", ""]
_EACH = "*"


@dataclass(frozen=True)
class Figure:
    """A number of a row."""

    key: str
    """Its column."""
    title: str
    form: str
    better: Better
    path: str
    """Where it stands in what `evaluate.py --json` prints, as keys with dots between them; `*`: the mean over all layers."""

    def of(self, report: dict[str, Any]) -> float | None:
        """The number in a report; None where there is none."""
        numbers = list(_numbers(report, self.path.split(".")))
        return fmean(numbers) if numbers else None


def _numbers(value: Any, keys: Sequence[str]) -> Iterator[float]:
    if not keys:
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)
    elif isinstance(value, dict):
        for one in value.values() if keys[0] == _EACH else [value.get(keys[0])]:
            yield from _numbers(one, keys[1:])


FIGURES = {
    figure.key: figure
    for figure in (
        Figure("overlap", "keyframes differ by", ".4f", "lower", "edit.keyframe_overlap.*.edited"),
        Figure("overlap_source", "unedited ones by", ".4f", "", "edit.keyframe_overlap.*.source"),
        Figure("warp_error", "warp error, over the source's", ".3f", "lower", "edit.warp_error.ratio"),
        Figure("long_term", "long-term warp error, over the source's", ".3f", "lower", "edit.long_term_warp_error.ratio"),
        Figure("fidelity", "keyframes off by", ".4f", "lower", "edit.keyframe_fidelity.*"),
        Figure("coverage", "coverage", ".3f", "higher", "edit.coverage.*"),
        Figure("changed", "changed", ".4f", "", "edit.changed"),
        Figure("sharpness", "sharpness, over the source's", ".3f", "", "edit.sharpness.ratio"),
        Figure("clip_text", "CLIP-text", ".2f", "higher", "edit.clip_text.edit"),
        Figure("clip_frame", "CLIP-frame", ".4f", "higher", "edit.clip_frame.edit"),
        Figure("object_consistency", "object consistency", ".4f", "higher", "edit.object_consistency.edit"),
        Figure("lpips", "LPIPS along the motion, over the source's", ".3f", "lower", "edit.lpips.ratio"),
        Figure("psnr", "reconstruction, dB", ".2f", "higher", "reconstruction.whole.psnr"),
        Figure("ssim", "SSIM", ".4f", "higher", "reconstruction.whole.ssim"),
        Figure("flow_px", "mapping against flow, px", ".3f", "lower", "reconstruction.layers.*.flow_disagreement"),
        Figure("slide_px", "slide, px", ".2f", "lower", "reconstruction.layers.*.slide"),
    )
}
"""By column. Costs stand beside them: cpu_seconds and peak_mb, of all stages of a row."""


def figures_of_report(report: dict[str, Any]) -> dict[str, float | None]:
    """All figures of a report; None where one cannot be had."""
    return {key: figure.of(report) for key, figure in FIGURES.items()}
