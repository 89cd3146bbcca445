"""Diagnosis of a fit in words: where it is weak, in which frames, and what to do about it.

Thresholds stand between good fits of real clips and constructed failures: a sound fit has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.clip.clip import BACKGROUND
from atlas.clip.runs import runs
from atlas.errors import a_few
from atlas.maps.maps import Maps
from atlas.quality.series import OFF, FrameSeries

_SEEN = 0.0005  # share of the frame under which a layer is as good as not seen
_FULL = 0.8  # share of the frame
_GAP = 2  # frames: an object that hides for longer may truly be hidden
_JUMP = 1.7  # between a mask's area and that of the masks around it
_FOLLOWED, _DROP, _TEXTURED = 0.35, 0.5, 0.15  # share of pixels with valid flow: of a frame; of the clip's median; of a clip
_EXPLAINED, _ORDINARY = 6.0, 4.0  # the background's error in the masks, over the object's own there; over its own elsewhere
_BEHIND = 0.2  # share of a mask behind which the background was seen in other frames, for it to be asked
_AREA = 2.0  # the object's visible area over its masks', either way
_FOLDED, _FOLDED_FRAME = 0.001, 0.01
_DISAGREEMENT, _DISAGREEMENT_FRAME = 0.75, 2.0  # pixels, medians
_SMALL = 600  # pixels: what is smaller moves with its surroundings as far as flow can tell
_SLIDE, _LEAST_SLIDE = 1 / 256, 2.0  # of the longer side; pixels, since corners are never tracked exactly
_MANY_OFF = 0.25  # share of the background's pixels
_WORSE, _POOR, _MUCH_WORSE = 4.5, 25.0, 8.0  # dB below the clip's median, where that is poor; anywhere
_AROUND, _AROUND_RATIO = 0.1, 4.0  # error near the masks, absolute and over the error elsewhere
_TEXELS = 0.7  # per pixel


@dataclass
class Weakness:
    """One thing that a fit does badly."""

    kind: str
    layer: str | None
    """None: the whole frame."""
    frames: list[int]
    """Where; empty: throughout."""
    value: float
    """What was measured, in the sentence's unit."""
    sentence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.sentence}; {self.advice}"


def weaknesses(series: FrameSeries, maps: Maps) -> list[Weakness]:
    """Diagnose a fit: all that is weak, most important first: what spoils everything before what spoils a few frames."""
    objects = [layer for layer in maps.layers if layer != BACKGROUND]
    weak = list(_flow(series))
    for layer in objects:
        weak += [*_masks(series, layer), *_identity(series, layer)]
    for layer in maps.layers:
        weak += [*_mapping(series, maps, layer), *_long_range(series, maps, layer)]
    for layer in maps.layers:
        weak += [*_reconstruction(series, layer), *_detail(series, maps, layer)]
    order = {kind: rank for rank, kind in enumerate(_ORDER)}
    return sorted(weak, key=lambda weakness: order[weakness.kind])


_ORDER = (
    "flow_lost", "masks_empty", "masks_full", "masks_missing", "masks_jump", "indistinct", "swallowed", "grown", "few_frames",
    "folds", "parallax", "flow", "slides", "untextured", "worse_frames", "halo", "coarse_atlas",
)  # fmt: skip


def _flow(series: FrameSeries) -> Iterator[Weakness]:
    """Frames between which nothing can be followed."""
    valid = _array(series.whole, "flow_valid")
    usual = _median(valid)
    lost = np.flatnonzero((valid < _FOLLOWED) & (valid < _DROP * usual))
    if len(lost):
        share = float(valid[lost].min())
        yield Weakness(
            "flow_lost", None, (lost + 1).tolist(), share,
            f"from frame {_listed(lost)} to the next only {share:.0%} of the pixels can be followed",
            "where a shot ends, prepare each shot as a clip of its own (--start, --frames); where motion is too fast, trim",
        )  # fmt: skip
    elif usual < _TEXTURED:
        yield Weakness(
            "untextured", None, [], usual,
            f"flow can be trusted in {usual:.0%} of the pixels only: the picture has little texture, or is noisy or blurred",
            "the mapping is a guess there: edit with large soft shapes, or prepare at a larger --max-side",
        )  # fmt: skip


def _masks(series: FrameSeries, layer: str) -> Iterator[Weakness]:
    """Masks that can hardly be what was meant."""
    values = series.layers[layer]
    mask, visible = _array(values, "mask"), _array(values, "visible")
    if not len(mask):
        return
    if mask.max() < _SEEN:
        yield Weakness(
            "masks_empty", layer, [], float(mask.max()), f"the masks of {layer} are as good as empty",
            "look at masks.png and prepare with other --masks",
        )  # fmt: skip
        return
    if np.median(mask) > _FULL:
        yield Weakness(
            "masks_full", layer, [], float(np.median(mask)),
            f"the masks of {layer} cover {np.median(mask):.0%} of the frame",
            "look at masks.png: are they inverted? An object should leave the background room",
        )  # fmt: skip
    around = np.array([_neighbours(mask, t) for t in range(len(mask))])
    unseen = (mask < _SEEN) & (visible < _SEEN)
    gaps = [
        t for run in runs(np.flatnonzero(unseen)) if len(run) <= _GAP and run[0] > 0 and run[-1] + 1 < len(mask) for t in run
    ]
    if gaps:
        yield Weakness(
            "masks_missing", layer, gaps, float(len(gaps)),
            f"{layer} has no mask in {_frames(gaps)}, though it is seen before and after, and the fit does not show it there",
            "draw the missing masks and prepare again",
        )  # fmt: skip
    ratio = np.maximum(mask, 1e-9) / np.maximum(around, 1e-9)
    jumps = (np.maximum(ratio, 1 / ratio) > _JUMP) & (np.minimum(mask, around) >= _SEEN) & (np.abs(mask - around) > 0.002)
    if jumps.any():
        worst = float(np.maximum(ratio, 1 / ratio)[jumps].max())
        frames = np.flatnonzero(jumps).tolist()
        yield Weakness(
            "masks_jump", layer, frames, worst,
            f"the mask of {layer} is up to {worst:.1f} times larger or smaller in {_frames(frames)} than around them",
            "look at these masks and mend them",
        )  # fmt: skip


def _identity(series: FrameSeries, layer: str) -> Iterator[Weakness]:
    """Whether the layer shows the object, and the background does not."""
    values = series.layers[layer]
    mask, visible = _array(values, "mask"), _array(values, "visible")
    if not len(mask) or mask.max() < _SEEN:
        return
    own, other, known = (_array(values, name) for name in ("own_error", "background_error", "behind_known"))
    asked = np.isfinite(own) & np.isfinite(other) & (known > _BEHIND)
    area = float(visible.sum() / mask.sum())
    if asked.sum() >= max(2, 0.2 * len(mask)):
        away = _array(series.whole, "away_error")[asked]
        ratio = _median(other[asked]) / max(_median(own[asked]), 1e-4)
        # Either alone can be: an object that changes much is ill explained by its own atlas, and so is a poor background.
        if ratio < _EXPLAINED and _median(other[asked]) < _ORDINARY * max(_median(away), 1e-4):
            yield Weakness(
                "indistinct", layer, [], ratio,
                f"where {layer} is masked, the background's own atlas fits the frames about as well as it does elsewhere "
                f"(its error there is {ratio:.1f} times that of {layer}; an object of its own makes it far more)",
                "the masks may show no object that moves by itself, or the background has swallowed it: look at masks.png",
            )  # fmt: skip
    if area < 1 / _AREA:
        yield Weakness(
            "swallowed", layer, [], area, f"{layer} is seen in {area:.0%} of its masks' area: the background shows the rest",
            "look at sheet.png; where the masks are right, fit longer (--preset standard, --iterations)",
        )  # fmt: skip
    elif area > _AREA:
        yield Weakness(
            "grown", layer, [], area, f"{layer} covers {area:.1f} times its masks' area: it shows part of the background",
            "look at sheet.png: do the masks hold all of the object? Draw them wider, or fit longer",
        )  # fmt: skip
    shown = int((np.maximum(mask, visible) > _SEEN).sum())
    if shown < max(3, 0.1 * len(mask)):
        yield Weakness(
            "few_frames", layer, [], float(shown), f"{layer} is seen in {shown} of {len(mask)} frames only",
            "its atlas knows little: trim the clip to where it is seen, or leave it out of the masks",
        )  # fmt: skip


def _mapping(series: FrameSeries, maps: Maps, layer: str) -> Iterator[Weakness]:
    values = series.layers[layer]
    folds = _array(values, "fold_share")
    folded = float(np.nanmean(folds)) if np.isfinite(folds).any() else 0.0
    bad = np.flatnonzero(folds > _FOLDED_FRAME).tolist()
    if folded > _FOLDED or bad:
        where = f", most in {_frames(bad)}" if bad and len(bad) < len(folds) else ""
        yield Weakness(
            "folds", layer, bad, folded, f"the mapping of {layer} folds over in {folded:.1%} of its pixels{where}",
            "an edit appears torn or doubled there: mend the masks where they hold other things, or fit longer",
        )  # fmt: skip
    apart, off, parallax = (_array(values, name) for name in ("flow_disagreement", "flow_off", "parallax"))
    usual, share = _median(apart), float(np.nanmean(off)) if np.isfinite(off).any() else 0.0
    if layer == BACKGROUND and share > _MANY_OFF and _median(parallax) > _MANY_OFF:
        frames = np.flatnonzero(off > _MANY_OFF).tolist()
        yield Weakness(
            "parallax", layer, _unless_all(frames, len(off) - 1), share,
            f"{share:.0%} of the background's pixels move by more than {OFF:g} px otherwise than its mapping, "
            "and no single plane moves like them",
            "the camera passes things at several depths, or the scene itself moves: give nearer things a mask of their own",
        )  # fmt: skip
        return
    if not _median(_array(values, "visible")) * maps.height * maps.width > _SMALL:
        return
    bad = np.flatnonzero((apart > _DISAGREEMENT_FRAME) & (apart > 3 * usual)).tolist()
    if usual > _DISAGREEMENT or bad:
        value = usual if usual > _DISAGREEMENT else float(np.nanmax(apart))
        where = f" in {_frames(bad)}" if usual <= _DISAGREEMENT else ""
        yield Weakness(
            "flow", layer, bad, value,
            f"the mapping of {layer} and the flow of the frames differ by {value:.1f} px (median){where}",
            "an edit drifts there: fit longer, or put keyframes on these frames",
        )  # fmt: skip


def _long_range(series: FrameSeries, maps: Maps, layer: str) -> Iterator[Weakness]:
    """Stretches over which the mapping leaves what it shows, however well it agrees from frame to frame."""
    most = max(_LEAST_SLIDE, _SLIDE * max(maps.height, maps.width))
    bad = [slide for slide in series.slides if slide.layer == layer and slide.p80 > most]
    if bad:
        worst = max(bad, key=lambda slide: slide.p80)
        yield Weakness(
            "slides", layer, sorted({frame for slide in bad for frame in range(slide.first, slide.last + 1)}), worst.p80,
            f"the mapping of {layer} slides by {worst.p80:.1f} px between frames {worst.first} and {worst.last} "
            f"(of {worst.corners} corners that were followed a fifth is off by more, half by {worst.median:.1f} px)",
            "a recolour does not show it, a logo or a letter painted there does: look at it in these frames, or fit longer",
        )  # fmt: skip


def _reconstruction(series: FrameSeries, layer: str) -> Iterator[Weakness]:
    psnr = _array(series.layers[layer], "psnr")
    usual = _median(psnr)
    fall = usual - psnr
    bad = np.flatnonzero(((fall > _WORSE) & (psnr < _POOR)) | (fall > _MUCH_WORSE)).tolist()
    if bad and len(bad) <= len(psnr) / 2:
        worst = float(np.nanmin(psnr[bad]))
        yield Weakness(
            "worse_frames", layer, bad, worst,
            f"{layer} falls to {worst:.1f} dB in {_frames(bad)} (usually {usual:.1f} dB): these do not look like its atlas",
            "look at them in preview.mp4: another side, blur or light? Put a keyframe there, or trim them",
        )  # fmt: skip
    if layer != BACKGROUND:
        return
    around, away = (_array(series.whole, name) for name in ("around_error", "away_error"))
    both = np.isfinite(around) & np.isfinite(away)
    if both.any():
        near, far = (float(np.sqrt((part[both] ** 2).mean())) for part in (around, away))
        if near > _AROUND and near > _AROUND_RATIO * far:
            yield Weakness(
                "halo", layer, [], near,
                f"next to the masks the background errs {near / max(far, 1e-9):.1f} times as much as elsewhere",
                "the masks leave out part of the object or its shadow: draw them wider",
            )  # fmt: skip


def _detail(series: FrameSeries, maps: Maps, layer: str) -> Iterator[Weakness]:
    texels = _median(_array(series.layers[layer], "texels"))
    if texels < _TEXELS:
        size = max(maps.atlas_size(layer))
        yield Weakness(
            "coarse_atlas", layer, [], texels,
            f"the atlas of {layer} ({size}x{size}) has {texels:.2f} texels for each pixel's width: it cannot hold all detail",
            "its views span too wide an area: split the clip, or prepare it at a smaller --max-side",
        )  # fmt: skip


def _array(values: dict[str, list[float]], name: str) -> np.ndarray:
    return np.array(values.get(name, []), np.float64)


def _median(values: np.ndarray) -> float:
    """Of the values that are numbers; NaN (which no comparison holds for) where none is."""
    numbers = values[np.isfinite(values)]
    return float(np.median(numbers)) if len(numbers) else math.nan


def _neighbours(values: np.ndarray, t: int) -> float:
    """Median of the two values before and the two after, of those that are not as good as nothing where there are any."""
    around = np.concatenate([values[max(0, t - 2) : t], values[t + 1 : t + 3]])
    seen = around[around >= _SEEN]
    return float(np.median(seen)) if len(seen) else 0.0


def _unless_all(frames: list[int], count: int) -> list[int]:
    return [] if len(frames) >= 0.9 * count else frames


def _listed(frames: Iterable[int]) -> str:
    """3, 7-9 and 12; only the first few of many."""
    return a_few((str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs(frames)), 4, "more places")


def _frames(frames: Sequence[int]) -> str:
    return f"frame{'s' if len(frames) > 1 else ''} {_listed(frames)}"
