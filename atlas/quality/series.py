"""Metrics of a fit frame by frame (PSNR, SSIM, folds, flow disagreement, IoU, errors behind masks), in one pass over the clip.

It stands on the clip, its flow and the maps alone, so it measures any fit, however it was made.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from atlas.clip.clip import BACKGROUND, Clip
from atlas.geometry.homography import apply_homography, fit_homography, pixel_positions
from atlas.geometry.texture import Texture
from atlas.geometry.warp import bilinear
from atlas.maps.compositing import composite_frame, fit_textures
from atlas.maps.maps import Maps
from atlas.metrics import definitions as metrics
from atlas.metrics.mapping import VISIBLE, flow_disagreement, texels_per_pixel
from atlas.quality.long_range import LongRange, Slide
from atlas.storage.arrays import StoredArray
from atlas.system.device import choose_device
from atlas.system.parallel import in_order, one_thread
from atlas.system.progress import Progress

OFF = 2.0
"""Pixels by which mapping and flow must disagree for a pixel to count as off."""
MANY_OFF = 0.1
"""Share of pixels off from which it is asked whether any homography would follow the flow."""
_SAMPLED = 40_000  # pixels of a frame that are looked at where every pixel would be too slow
_KEPT = 2_000  # disagreements of a frame that are kept for the percentiles of the whole clip
_AROUND = 0.02  # of the longer side: how far "just outside" a mask reaches
_DB_AND_SSIM = ("psnr", "ssim")


@dataclass
class FrameSeries:
    """Numbers of each frame of a clip; NaN where a frame has none."""

    whole: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """psnr, ssim; flow_valid: share of pixels whose flow to the next frame is valid; around_error, away_error: root mean
    square error of the background just outside the objects' masks, and farther away."""
    layers: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """psnr, ssim, fold_share (share of pixels); visible (share of the frame); texels (per pixel, along a side);
    flow_disagreement, flow_disagreement_p90 (pixels, to the next frame), flow_off (share of pixels off by more than OFF);
    of the background also parallax (share of pixels that no homography brings nearer than OFF, where many are off);
    of objects also mask (share of the frame), mask_iou, and over the mask's pixels that the background's atlas knows:
    behind_known (their share), own_error, background_error (root mean square of what each atlas shows there)."""
    disagreement: dict[str, np.ndarray] = field(default_factory=dict)
    """Some flow disagreements of each layer, pixels, over all frames."""
    slides: list[Slide] = field(default_factory=list)
    """How far each layer's mapping slides over stretches of the clip."""

    def append(self, following: FrameSeries) -> None:
        """Append the numbers of the frames that follow."""
        for name, numbers in following.whole.items():
            self.whole[name] += numbers
        for layer, values in following.layers.items():
            for name, numbers in values.items():
                self.layers[layer][name] += numbers

    def averages(self) -> dict[str, Any]:
        """The clip's numbers: means over the frames, percentiles of the flow disagreement over all pixels, the worst slide."""
        layers = {}
        for layer, values in self.layers.items():
            wanted = [name for name in (*_DB_AND_SSIM, "fold_share", "mask_iou") if name in values]
            layers[layer] = {name: _average(name, values[name]) for name in wanted}
            distances = self.disagreement[layer]
            median, p90 = np.percentile(distances, (50, 90)) if len(distances) else (math.nan, math.nan)
            layers[layer] |= {"flow_disagreement": float(median), "flow_disagreement_p90": float(p90)}
            layers[layer]["slide"] = max((slide.p80 for slide in self.slides if slide.layer == layer), default=math.nan)
        return {"whole": {name: _average(name, self.whole[name]) for name in _DB_AND_SSIM}, "layers": layers}


def _average(name: str, values: list[float]) -> float:
    return metrics.average_db(values) if name == "psnr" else metrics.average(values)


def measure_frames(clip: Clip, maps: Maps, *, quiet: bool = True) -> FrameSeries:
    """Measure every frame of a fit in one pass over the clip, several at once; memory does not grow with its length but by the
    numbers."""
    return FramesPass(clip, maps, quiet=quiet).finish()


@dataclass(frozen=True)
class MeasuredFrame:
    """What was measured of one frame, and what it was measured on."""

    numbers: FrameSeries
    frame: np.ndarray
    """(H, W, 3) uint8, of the clip."""
    result: np.ndarray
    """(H, W, 3) float32, the layers composited."""
    opacities: dict[str, np.ndarray]
    """(H, W) float32 by layer."""


class FramesPass(Iterator[MeasuredFrame]):
    """A pass over the frames of a fit that measures them. Who wants to look at them as well iterates over it; `finish` measures
    what is left then."""

    def __init__(
        self, clip: Clip, maps: Maps, frames: Callable[[int], np.ndarray] | None = None, *, quiet: bool = True
    ) -> None:
        """frames(t): frame t of the clip, where it is at hand more quickly than from there."""
        self._measure = _Measure.of(clip, maps, frames or clip.frame)
        self._series = FrameSeries(layers={layer: defaultdict(list) for layer in maps.layers})
        self._passing = self._measured(quiet)
        self._problem: Exception | None = None

    def __next__(self) -> MeasuredFrame:
        """Measure the next frame."""
        try:
            return next(self._passing)
        except StopIteration:
            raise
        except Exception as problem:
            self._problem = problem
            raise

    def finish(self) -> FrameSeries:
        """Measure the frames that are left; returns the numbers of all. It raises what ended the pass, if anything did."""
        if self._problem is not None:
            raise self._problem
        deque(self._passing, 0)
        return self._series

    def _measured(self, quiet: bool) -> Iterator[MeasuredFrame]:
        measure, series = self._measure, self._series
        frames, layers = measure.clip.frames, measure.maps.layers
        long_range, kept = LongRange(measure.maps), defaultdict[str, list[np.ndarray]](list)
        with one_thread(), closing(in_order(measure.frame, range(frames))) as measured:
            for index, one in enumerate(Progress(measured, "reconstruction", frames, unit="frame", quiet=quiet)):
                series.append(one.numbers)
                for layer, distances in one.numbers.disagreement.items():
                    kept[layer].append(distances)
                long_range.add(index, one.frame, one.opacities)
                yield one
        series.slides = long_range.slides
        series.disagreement = {layer: np.concatenate(kept[layer]) if kept[layer] else np.zeros(0) for layer in layers}
        for values in (series.whole, *series.layers.values()):
            for numbers in values.values():
                numbers += [math.nan] * (frames - len(numbers))  # nothing follows the last frame


class _MapsOfFrame:
    """The maps of a fit while a frame is measured: what is asked for several times is read once."""

    def __init__(self, maps: Maps) -> None:
        self.layers, self.height, self.width, self.has_light = maps.layers, maps.height, maps.width, maps.has_light
        self.atlas, self.atlas_size = maps.atlas, maps.atlas_size
        self.uv: Callable[[str, int], np.ndarray] = lru_cache(maxsize=None)(maps.uv)
        self.opacity: Callable[[str, int], np.ndarray] = lru_cache(maxsize=None)(maps.opacity)
        self.light: Callable[[str, int], np.ndarray] = lru_cache(maxsize=None)(maps.light)


@dataclass(frozen=True)
class _Measure:
    """What frames are measured by, each for itself."""

    clip: Clip
    maps: Maps
    frames: Callable[[int], np.ndarray]
    textures: dict[str, Texture]
    flow: StoredArray
    valid: StoredArray
    step: int
    """Pixels between those that are looked at where every pixel would be too slow."""

    @classmethod
    def of(cls, clip: Clip, maps: Maps, frames: Callable[[int], np.ndarray]) -> _Measure:
        step = max(1, round(math.sqrt(clip.width * clip.height / _SAMPLED)))
        textures = fit_textures(maps, choose_device("auto"))
        return cls(clip, maps, frames, textures, clip.flow("forward"), clip.flow_validity("forward"), step)

    def frame(self, index: int) -> MeasuredFrame:
        """Measure a frame, and how the mapping comes to it from the one before."""
        clip, layers, step, frame = self.clip, self.maps.layers, self.step, self.frames(index)
        maps = _MapsOfFrame(self.maps)
        series = FrameSeries(layers={layer: defaultdict(list) for layer in layers})
        result = composite_frame(index, maps, self.textures)
        opacities = {layer: maps.opacity(layer, index) for layer in layers}
        areas = [None, *(metrics.inside(opacity) for opacity in opacities.values())]
        similarities, ratios = metrics.ssim_over(result, frame, areas), metrics.psnr_over(result, frame, areas)
        _add(series.whole, psnr=ratios[0], ssim=similarities[0])
        flow, valid = (self.flow[index - 1], self.valid[index - 1]) if index else (None, None)
        for layer, similarity, ratio in zip(layers, similarities[1:], ratios[1:], strict=True):
            uv, opacity, values = maps.uv(layer, index), opacities[layer], series.layers[layer]
            visible = opacity > VISIBLE
            _add(values, psnr=ratio, ssim=similarity)
            _add(values, fold_share=metrics.fold_share(uv, opacity), visible=float(visible.mean()))
            _add(values, texels=texels_per_pixel(uv, visible, max(maps.atlas_size(layer)), 2 * step))
            if flow is not None and valid is not None:
                before = maps.uv(layer, index - 1), maps.opacity(layer, index - 1) > VISIBLE
                distances = _disagreement(values, before, (uv, visible), flow, valid, step)
                series.disagreement[layer] = distances[:: max(1, len(distances) // _KEPT)]
                if layer == BACKGROUND:
                    _add(values, parallax=_parallax(values["flow_off"][-1], before[1], flow, valid, step))
        if valid is not None:
            _add(series.whole, flow_valid=float((valid[::step, ::step] > 0).mean()))
        masks = {layer: metrics.inside(clip.mask(layer, index)) for layer in clip.objects if layer in opacities}
        _objects(series, maps, index, frame, opacities, masks, step)
        if masks and BACKGROUND in opacities:
            thin = (slice(None, None, step), slice(None, None, step))
            wrong = ((metrics.unit(result[thin]) - metrics.unit(frame[thin])) ** 2).mean(-1)
            _around(series.whole, wrong, np.any([mask[thin] for mask in masks.values()], 0), opacities[BACKGROUND][thin])
        return MeasuredFrame(series, frame, result, opacities)


def _add(values: dict[str, list[float]], **numbers: float) -> None:
    for name, number in numbers.items():
        values[name].append(number)


def _disagreement(
    values: dict[str, list[float]],
    before: tuple[np.ndarray, np.ndarray],
    now: tuple[np.ndarray, np.ndarray],
    flow: np.ndarray,
    valid: np.ndarray,
    step: int,
) -> np.ndarray:
    distances = flow_disagreement(before[0], now[0], before[1], now[1], flow, valid, step)
    median, p90 = np.percentile(distances, (50, 90)) if len(distances) else (math.nan, math.nan)
    off = float((distances > OFF).mean()) if len(distances) else math.nan
    _add(values, flow_disagreement=float(median), flow_disagreement_p90=float(p90), flow_off=off)
    return distances


def _parallax(off: float, visible: np.ndarray, flow: np.ndarray, valid: np.ndarray, step: int) -> float:
    """Share of the background's pixels with valid flow that the best homography leaves off; NaN where few are off anyway."""
    asked = visible & (valid > 0)
    if not off > MANY_OFF or asked.sum() < 100:
        return math.nan
    homography = fit_homography(flow.astype(np.float32), asked.astype(np.float32))
    thin = (slice(None, None, step), slice(None, None, step))
    positions = pixel_positions(*visible.shape)[thin]
    left = flow[thin].astype(np.float32) + positions - apply_homography(homography, positions)
    return float((np.hypot(left[..., 0], left[..., 1])[asked[thin]] > OFF).mean())


def _around(values: dict[str, list[float]], wrong: np.ndarray, masked: np.ndarray, background: np.ndarray) -> None:
    """Where the background errs, all on a thinned frame: squared errors, masks of all objects, the background's opacity."""
    open_ground = ~masked & (background > VISIBLE)
    width = 2 * max(2, round(_AROUND * max(masked.shape))) + 1
    near = cv2.dilate(masked.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    areas = {"around_error": open_ground & near, "away_error": open_ground & ~near}
    for name, area in areas.items():
        values[name].append(float(np.sqrt(wrong[area].mean())) if area.any() else math.nan)


def _objects(
    series: FrameSeries,
    maps: _MapsOfFrame,
    index: int,
    frame: np.ndarray,
    opacities: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    step: int,
) -> None:
    """What the masks say of each object, and whose atlas explains the pixels inside them."""
    nearer = np.zeros(frame.shape[:2], bool)
    for layer, mask in masks.items():
        own = mask & ~nearer  # what a nearer object hides is not to be seen, whatever the mask says
        nearer |= mask
        _add(series.layers[layer], mask=float(own.mean()), mask_iou=metrics.iou(opacities[layer], mask))
        _add(series.layers[layer], **_explained(maps, layer, index, frame, own, step))


def _explained(maps: _MapsOfFrame, layer: str, index: int, frame: np.ndarray, mask: np.ndarray, step: int) -> dict[str, float]:
    own_error = background_error = known_share = math.nan
    rows, columns = np.nonzero(mask[::step, ::step])
    if len(rows) and BACKGROUND in maps.layers:
        rows, columns = rows * step, columns * step
        known = _known(maps, maps.uv(BACKGROUND, index)[rows, columns])
        known_share = float(known.mean())
        if known.any():
            rows, columns = rows[known], columns[known]
            wanted = metrics.unit(frame[rows, columns])
            own_error, background_error = (
                _rms(_shown(maps, name, index, rows, columns) - wanted) for name in (layer, BACKGROUND)
            )
    return {"behind_known": known_share, "own_error": own_error, "background_error": background_error}


def _known(maps: _MapsOfFrame, uv: np.ndarray) -> np.ndarray:
    """Where the background's atlas was ever seen."""
    seen = maps.atlas(BACKGROUND)[..., 3]
    height, width = seen.shape
    place = np.floor((uv + 1) / 2 * [width, height]).astype(int)
    return seen[np.clip(place[:, 1], 0, height - 1), np.clip(place[:, 0], 0, width - 1)] > 0.5


def _shown(maps: _MapsOfFrame, layer: str, index: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a layer alone shows in some pixels, (n, 3)."""
    height, width = maps.atlas_size(layer)
    texels = (maps.uv(layer, index)[rows, columns] + 1) * (np.array([width, height], np.float32) / 2) - 0.5
    shown = bilinear(maps.atlas(layer), texels)[:, :3]
    return shown * maps.light(layer, index)[rows, columns] if maps.has_light(layer) else shown


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference**2).mean()))
