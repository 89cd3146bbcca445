"""Video segmentation by a convex graph cut (total variation): from a score for each pixel and colour models of the whole clip.

Each pixel's evidence is its score and how much its colour is the foreground's in the *whole clip*. It is averaged
along the flow, so that what is foreground in most of its life is foreground throughout, and each frame is then
cut where the evidence is outweighed by the length of the edge: edges cost little where the colour changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from atlas.clip.flow import flow_validity
from atlas.geometry.flow import along_flow
from atlas.video.source import fit_image

_SCORE = 2.0
"""What a certain score weighs, in units of a logarithm of odds."""
_COLOUR, _CLEAREST = 1.5, 3.0
"""What a colour's logarithm of odds weighs, and where it is clipped."""
_BINS = 24
"""Steps of each colour channel."""
_EDGE, _FREE = 5.0, 0.05
"""What a pixel of edge costs inside an even area, and the share of it that is left across the strongest contrast."""
_NEAR = 0.5
"""Background colours are learned within this distance of the foreground, in square roots of its area."""
_ROUNDS, _STEPS = 2, 80
"""How often colours and masks are found in turn, and the steps of each cut."""
_MEMORY, _UNSURE = 0.9, 0.3
"""How much evidence is handed on to the next frame, and the share of that where the flow is not confirmed."""


@dataclass
class Limits:
    """Scores that decide: surely inside, more likely inside, surely outside below."""

    inside: float
    likely: float
    outside: float


def cut_clip(
    images: Sequence[np.ndarray],  # T of (H, W, 3) uint8
    scores: np.ndarray,  # (T, H, W) in [0, 1]
    limits: Limits,
    forward: Sequence[np.ndarray],  # T-1 of (H, W, 2) pixels
    backward: Sequence[np.ndarray],  # the same, from the later frame to the earlier
) -> list[np.ndarray]:
    """The foreground of all frames, T of (H, W) bool, found at half the resolution."""
    height, width = images[0].shape[:2]
    size = (max(2, width // 2), max(2, height // 2))
    halves = [fit_image(image, size) for image in images]
    score = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in scores])
    colours = np.stack([_colour_number(image) for image in halves])
    costs = [_edge_costs(image) for image in halves]
    flows = [[cv2.resize(flow, size, interpolation=cv2.INTER_AREA) / 2 for flow in way] for way in (forward, backward)]
    trust = [
        [np.where(flow_validity(one, other), 1, _UNSURE).astype(np.float32) for one, other in zip(way, back, strict=True)]
        for way, back in (flows, flows[::-1])
    ]
    # Flow spreads a motion a little beyond the edge of what moves, so even odds are a little towards the certain end.
    even = limits.likely + 0.4 * (limits.inside - limits.likely)
    scored = np.interp(score, [0, limits.outside, even, limits.inside, 1], [-1.5, -1, 0, 1, 1.2]).astype(np.float32) * _SCORE
    reach = 2 * max(2, round(0.01 * max(size))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    impossible = np.stack([cv2.dilate((one > limits.outside).astype(np.uint8), disc) == 0 for one in score])
    inside = np.clip((score - limits.outside) / (limits.inside - limits.outside), 0, 1)
    for _ in range(_ROUNDS):
        odds = _colour_odds(colours, inside)
        evidence = along_the_flow(scored + _COLOUR * odds[colours], flows[0], flows[1], _MEMORY, trust)
        evidence[impossible] = -3 * _SCORE
        with ThreadPoolExecutor(2) as pool:
            inside = np.stack(list(pool.map(least_edge, evidence, costs)))
    return [cv2.resize(one, (width, height)) > 0.5 for one in inside]


def along_the_flow(
    values: np.ndarray,  # (T, H, W) float32
    forward: Sequence[np.ndarray],
    backward: Sequence[np.ndarray],
    memory: float,
    trust: Sequence[Sequence[np.ndarray]] | None = None,  # of forward and backward, each T-1 of (H, W)
) -> np.ndarray:
    """Values averaged over the frames before and after, along the flow, with a memory that fades by `memory` a frame."""
    frames = len(values)
    weight = np.ones_like(values)
    total = values.copy()
    for step, flows, trusted in ((1, backward, trust and trust[1]), (-1, forward, trust and trust[0])):
        order = range(1, frames) if step > 0 else range(frames - 2, -1, -1)
        held, known = values[order.start - step], np.ones_like(values[0])
        for index in order:
            place = index - 1 if step > 0 else index
            fade = memory * trusted[place] if trusted else memory
            held, known = fade * along_flow(held, flows[place]), fade * along_flow(known, flows[place])
            total[index] += held
            weight[index] += known
            held, known = held + values[index], known + 1
    return total / weight


def _colour_number(image: np.ndarray) -> np.ndarray:
    """Which of _BINS^3 colours each pixel of (H, W, 3) uint8 has: (H, W) int16. Hue is told finer than lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 1:] = np.clip(128 + 2 * (lab[..., 1:] - 128), 0, 255)
    step = np.minimum(lab.astype(np.int16) * _BINS // 256, _BINS - 1)
    return (step[..., 0] * _BINS + step[..., 1]) * _BINS + step[..., 2]


def _colour_odds(colours: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """For each colour the clipped logarithm of the odds that it is the foreground's, (_BINS^3,) float32."""
    reach = max(3, round(_NEAR * float(np.sqrt(np.mean(inside > 0.5) * inside[0].size))))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = np.stack([cv2.dilate((one > 0.5).astype(np.uint8), around) for one in inside])
    shares = []
    for weight in (inside**2, (1 - inside) ** 2 * near):
        counts = np.bincount(colours.ravel(), weight.ravel(), _BINS**3).reshape(_BINS, _BINS, _BINS)
        counts = ndimage.gaussian_filter(counts, 1.0)
        shares.append(counts / max(float(counts.sum()), 1e-9) + 0.3 / _BINS**3)
    return np.clip(np.log(shares[0] / shares[1]), -_CLEAREST, _CLEAREST).astype(np.float32).ravel()


def _edge_costs(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What an edge costs between neighbours across, (H, W-1), and down, (H-1, W)."""
    colour = image.astype(np.float32)
    changes = [np.square(np.diff(colour, axis=axis)).sum(axis=-1) for axis in (1, 0)]
    usual = max(1e-3, float(changes[0].mean() + changes[1].mean()))
    across, down = (_EDGE * (_FREE + (1 - _FREE) * np.exp(-change / usual)) for change in changes)
    return across, down


def least_edge(evidence: np.ndarray, costs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far each pixel is inside, (H, W) float32 in [0, 1], where the evidence for it less the cost of edges is greatest.

    evidence: (H, W) float32, positive for inside; costs of an edge: (H, W-1) across and (H-1, W) down. It is the
    convex form of a graph cut, solved by primal and dual steps (Chambolle and Pock 2011).
    """
    across, down = costs
    inside = (evidence > 0).astype(np.float32)
    ahead = inside.copy()
    pull_across, pull_down = np.zeros_like(across), np.zeros_like(down)
    step = np.float32(1 / np.sqrt(8))
    for _ in range(_STEPS):
        pull_across = np.clip(pull_across + step * (ahead[:, 1:] - ahead[:, :-1]), -across, across)
        pull_down = np.clip(pull_down + step * (ahead[1:] - ahead[:-1]), -down, down)
        change = evidence.copy()
        change[:, :-1] += pull_across
        change[:, 1:] -= pull_across
        change[:-1] += pull_down
        change[1:] -= pull_down
        moved = np.clip(inside + step * change, 0, 1)
        ahead = 2 * moved - inside
        inside = moved
    return inside
