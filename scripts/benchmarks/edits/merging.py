"""Keyframes merged into an atlas that is known: by how much each way of merging misses it, and what it costs.

Five keyframes of the sample show its true layers in other colours, through its true maps, so that what is scored is the
merging alone. Disturbed, each has an exposure, a place and a grain of its own, as images that were edited one by one have.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from aggregate.merging import merge
from aggregate.network import Training
from aggregate.partials import Partials
from aggregate.windows import View
from atlas.clip.clip import BACKGROUND
from atlas.errors import UserError
from atlas.geometry.warp import sample
from atlas.maps.partial import Partial, partial_atlas
from atlas.metrics.definitions import average, psnr
from atlas.sample.scene import Sample, make_sample
from atlas.system.command import CommonOptions
from atlas.system.machine import load
from atlas.system.progress import Bar
from scripts.benchmarks.clips import middles

METHODS = ("network", "mean", "median")
PUBLISHED = "zero-filled median"
"""The published way: partial atlases with zeros where nothing was seen, and their median."""
_SEEN = 0.5  # opacity that a keyframe collected on a texel: from there on the texel is scored
_CHANNELS = [2, 0, 1]  # the edit: channels change places


@dataclass(kw_only=True)
class BenchAggregateOptions(CommonOptions):
    """Measure merging on the sample, whose true atlases are known."""

    frames: int = 32
    """Frames of the sample; keyframes are spread over them."""
    width: int = 480
    """Width of the frames."""
    height: int = 272
    """Height of the frames."""
    keyframes: int = 5
    """How many keyframes are merged."""
    seeds: int = 3
    """How many disturbances are averaged."""
    gain: float = 0.15
    """Disturbed: exposures differ by up to this share."""
    shift: float = 1.5
    """Disturbed: texels that each keyframe lies aside, in a direction of its own."""
    noise: float = 0.03
    """Disturbed: standard deviation of the grain, colours being 0 to 1."""
    steps: int = 160
    """At most so many training steps of the network, as in scripts/aggregate.py."""
    size: int = 1000
    """Texels per side of the atlas whose merging is timed."""
    json: bool = False
    """Print JSON instead of lines to read."""

    @property
    def numbers(self) -> list[int]:
        """Frame numbers of the keyframes."""
        return middles(self.frames, self.keyframes)


@dataclass
class Disturbance:
    """How keyframes depart from each other. On average they do not: what all of them share is the edit."""

    gains: Tensor
    """(K,), their logarithms sum to 0."""
    shifts: Tensor
    """(K, 2) in texels, all of the same length; they sum to 0."""
    grain: Tensor
    """(K, H, W, 3)"""

    @classmethod
    def draw(cls, options: BenchAggregateOptions, seed: int) -> Disturbance:
        """The disturbance of number `seed`."""
        generator, count = np.random.default_rng(seed), options.keyframes
        gains = np.log(generator.uniform(1 - options.gain, 1 + options.gain, count))
        angles = generator.uniform(0, 2 * np.pi) + generator.permutation(count) * 2 * np.pi / count
        shifts = options.shift * np.stack([np.cos(angles), np.sin(angles)], -1)
        grain = generator.normal(0, options.noise, (count, options.height, options.width, 3))
        gains = np.exp(gains - gains.mean())
        return cls(*(torch.from_numpy(part.astype(np.float32)) for part in (gains, shifts, grain)))


def bench_aggregate(options: BenchAggregateOptions) -> dict[str, Any]:
    """PSNR of merged atlases against the true one for each layer and way of merging, in dB, and what merging costs.

    UserError for numbers that leave nothing to measure.
    """
    if not 2 <= options.keyframes <= options.frames:
        raise UserError(f"--keyframes {options.keyframes} of {options.frames} frames: choose from 2 to {options.frames}")
    if options.seeds < 1 or options.size < 16:
        raise UserError("there is nothing to measure: give 1 or more --seeds, and a --size of 16 texels or more")
    if options.steps < 1:
        raise UserError(f"--steps {options.steps}: give 1 or more")
    if min(options.gain, options.shift, options.noise) < 0 or options.gain >= 1:
        raise UserError("--gain, --shift and --noise are 0 or more, --gain below 1")
    clip = make_sample(frames=options.frames, height=options.height, width=options.width)
    scores: dict[str, dict[str, list[dict[str, float]]]] = {"disturbed": {}, "undisturbed": {}}
    with Bar(total=(options.seeds + 1) * len(clip.layers) + 1, desc="aggregate", unit="run", quiet=options.quiet) as progress:
        for layer in clip.layers:
            for how, seeds in (("disturbed", options.seeds), ("undisturbed", 1)):
                of_seeds = scores[how][layer] = []
                for seed in range(seeds):
                    of_seeds.append(_scored(clip, layer, options, seed, disturb=how == "disturbed"))
                    progress.update()
        cost = _timed(clip, options)
        progress.update()
    averaged = {
        how: {
            layer: {name: average(one[name] for one in of_seeds) for name in of_seeds[0]} for layer, of_seeds in layers.items()
        }
        for how, layers in scores.items()
    }
    figures: dict[str, Any] = {"keyframes": options.numbers, "seeds": options.seeds, "frames": options.frames}
    return figures | {"width": options.width, "height": options.height} | averaged | {"cost": cost}


def keyframes_of(
    clip: Sample,
    layer: str,
    atlas: np.ndarray,  # (N, N, 3) what the layer looks like
    indices: list[int],
    disturbance: Disturbance | None = None,
) -> tuple[list[Partial], list[View]]:
    """Keyframes that show the layer's edited atlas, as the aggregate stage reads them; None: exactly as it is."""
    original = torch.from_numpy(np.ascontiguousarray(atlas))
    size = (original.shape[0], original.shape[1])
    edited = original[..., _CHANNELS].contiguous()
    partials, views = [], []
    for number, index in enumerate(indices):
        uv, opacity = (torch.from_numpy(source[layer][index]) for source in (clip.uvs, clip.opacities))
        seen_edited = sample(edited, uv)
        if disturbance is not None:
            aside = disturbance.shifts[number] * (2 / len(original))
            seen_edited = disturbance.gains[number] * sample(edited, uv + aside) + disturbance.grain[number]
            seen_edited = seen_edited.clamp(0, 1)
        values = torch.cat([seen_edited, sample(original, uv)], -1)
        partials.append(partial_atlas(values, uv, opacity, torch.ones_like(opacity), size, refine=1))
        seen = opacity > 0
        views.append(View(uv[seen], seen_edited[seen], values[seen][:, 3:], opacity[seen]))
    return partials, views


def zero_filled_median(partials: list[Partial]) -> Tensor:  # (H, W, 3)
    """The median over keyframes of their edited colours, zeros where a keyframe saw nothing."""
    return torch.stack([p.colour[..., :3] * (p.seen > 0)[..., None] for p in partials]).median(0).values


def merged(
    partials: list[Partial], views: list[View], method: str, training: Training, *, seed: int = 0
) -> Tensor:  # (H, W, 3)
    """The edited atlas as the aggregate stage merges it."""
    with tempfile.TemporaryDirectory() as folder, Partials.of(Path(folder), partials) as stored:
        return merge(stored, dict(enumerate(views)), method, training, seed=seed)[0]


def _scored(clip: Sample, layer: str, options: BenchAggregateOptions, seed: int, *, disturb: bool) -> dict[str, float]:
    """dB by way of merging, over the texels that keyframes saw."""
    atlas = clip.atlases[layer][..., :3]
    disturbance = Disturbance.draw(options, seed) if disturb else None
    partials, views = keyframes_of(clip, layer, atlas, options.numbers, disturbance)
    seen = (torch.stack([p.weight for p in partials]).amax(0) > _SEEN).numpy()
    atlases = {name: merged(partials, views, name, Training(steps=options.steps), seed=seed) for name in METHODS}
    atlases[PUBLISHED] = zero_filled_median(partials)
    return {name: psnr(found.numpy(), atlas[..., _CHANNELS], seen) for name, found in atlases.items()}


def _timed(clip: Sample, options: BenchAggregateOptions) -> dict[str, Any]:
    """Seconds of what the aggregate stage does with the background's keyframes, but for reading and writing images."""
    before = load()
    size = (options.size, options.size)
    atlas = clip.atlases[BACKGROUND][..., :3]
    atlas = cv2.resize(atlas, size, interpolation=cv2.INTER_AREA if options.size < len(atlas) else cv2.INTER_LINEAR)
    disturbance = Disturbance.draw(options, 0)
    wall, processor = time.perf_counter(), time.process_time()
    merged(*keyframes_of(clip, BACKGROUND, atlas, options.numbers, disturbance), "network", Training(steps=options.steps))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"size": options.size, "wall_seconds": wall, "cpu_seconds": processor, "load": before}


def printed(options: BenchAggregateOptions) -> dict[str, Any] | str:
    """Measure; the figures as JSON has them, or lines to read."""
    figures = bench_aggregate(options)
    lines = [
        f"{options.keyframes} keyframes of {options.width}x{options.height}; dB to the true edited atlas where they saw it"
    ]
    for how in ("disturbed", "undisturbed"):
        for layer, scores in figures[how].items():
            lines.append(f"{how} {layer}: " + ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
    cost = figures["cost"]
    seconds = f"{cost['wall_seconds']:.1f} s, {cost['cpu_seconds']:.1f} s of CPU (load before: {cost['load']})"
    lines.append(f"network, {cost['size']}x{cost['size']} texels: {seconds}")
    return figures if options.json else "\n".join(lines)
