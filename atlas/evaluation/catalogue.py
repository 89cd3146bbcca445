"""Catalogue of metrics: what each is called, how its number is printed, and how it is to be read.

A new metric is named here and shown by table, report and comparison alike, as `atlas.evaluation.measures` prints it. How it is
computed stands in `atlas.metrics.definitions`; where, in `atlas.quality.series` for fits and `atlas.evaluation.edit` for edits.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    Metric(
        "slide",
        ".2f",
        "slide over a third of the clip, px",
        "how far corners followed through many frames and the mapping come apart, a fifth of them by more: under 1/256 of the"
        " longer side a painted letter stays in its place",
        "slide px",
    ),
)
"""Of a fit's reconstruction, whole and for each layer."""
TRUTH = (
    Metric("median", ".3f", column="median px"),
    Metric("p90", ".3f", column="90 % px"),
    Metric("opacity_iou", ".4f", column="IoU"),
)
"""Of a layer's mapping against true maps."""
POINTS = (
    Metric(
        "d_avg",
        ".1f",
        "marked points, d_avg",
        "share of points followed near to where people marked them, the mean for 1, 2, 4, 8 and 16 px of a picture scaled to"
        " 256x256: of 100, 100 is right",
        "d_avg",
    ),
    Metric("points", "d", column="points"),
    Metric("median", ".2f", column="median px"),
    Metric(
        "worst",
        ".2f",
        "marked points, the worst",
        "the one that an edit slides away from most, in pixels of a picture scaled to 256x256",
        "worst px",
    ),
)
"""Of points that people marked, followed through the atlas: all, and of each layer."""
COST = (
    Metric("wall_seconds", ".1f", column="wall s"),
    Metric("cpu_seconds", ".1f", column="CPU s"),
    Metric("peak_ram_mb", ".1f", column="RAM MB"),
    Metric("peak_vram_mb", ".1f", column="VRAM MB"),
)
"""Of a stage: time and memory."""
RATIOS = (
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
CHANGED = Metric(
    "changed",
    ".4f",
    "changed",
    "mean difference from the source inside the edited layers, of 1: an edit that does nothing wins every warp error",
)
SHARPNESS = Metric(
    "sharpness",
    ".6f",
    "sharpness",
    "energy of the Laplacian inside the edited layers, over the source's: far below 1 is blur, which wins warp errors too (less"
    " contrast counts as its square)",
)
SHARPNESS_KEPT = Metric(
    "sharpness_kept",
    ".3f",
    "sharpness kept",
    "the same over the edit that it was deflickered from: how much of its detail, and of its flicker, is left",
)
COSINES = (
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
LPIPS = Metric(
    "lpips",
    ".4f",
    "LPIPS along the motion",
    "the warp error as eyes weigh it: neighbours after following the source's motion; about 1 is as steady",
)
LPIPS_FROM_SOURCE = Metric(
    "lpips_from_source",
    ".4f",
    "LPIPS, edit against source",
    "how much the edit changed the picture as eyes weigh it: 0 is nothing; large is right for a bold edit only",
)
OF_LAYERS = (
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
OVERLAP = Metric(
    "keyframe_overlap",
    ".4f",
    "keyframes differ by",
    "where several keyframes show the same place, how far they disagree about it: much more than unedited blurs",
)
ORACLE = Metric(
    "oracle",
    ".2f",
    "oracle PSNR, dB",
    "against the known right answer, inside the layer, apart from keyframes: higher is better",
)
OF_EDITS = (*RATIOS, CHANGED, SHARPNESS, SHARPNESS_KEPT, *COSINES, LPIPS, LPIPS_FROM_SOURCE, *OF_LAYERS, OVERLAP, ORACLE)
"""Of an edit, in the order in which they are shown."""
