"""Appearance model of a whole clip: how much each pixel looks like the foreground, learned from what is certain in all frames.

Colour alone does not tell a black bird from its reflection; colour at three scales, contrast and edges do, better than one
thinks, and the time in the clip lets the model follow the light.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from atlas.masks.moving.looks.perceptron import Perceptron

_SCALES = (1.0, 2.0)
"""Pixels: colours are also seen blurred by this much."""
_CONTRAST_SCALES = (2.0, 4.0)
_FRAMES, _SAMPLES = 200, 40_000
"""At most so many frames are asked, for about so many pixels of each kind in all."""
_FEWEST = 200
"""Pixels of each kind below which nothing can be learned."""


def pixel_features(image: np.ndarray, time: float) -> np.ndarray:  # (H, W, 3) uint8 -> (H, W, C) float32
    """Describe pixels by colour, its blurred surroundings, contrast and edges around them, and the time in [-1, 1]."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32) / 255 - 0.5
    lab[..., 1:] *= 2.5  # hue tells more than lightness
    light = lab[..., 0]
    slopes = [np.abs(cv2.Sobel(light, -1, *way)) for way in ((1, 0), (0, 1))]
    planes = [lab, *(cv2.GaussianBlur(lab, (0, 0), scale) for scale in _SCALES)]
    for scale in _CONTRAST_SCALES:
        mean = cv2.GaussianBlur(light, (0, 0), scale)
        contrast = np.sqrt(np.maximum(cv2.GaussianBlur(light * light, (0, 0), scale) - mean * mean, 0))
        planes += [4 * contrast, *(4 * cv2.GaussianBlur(slope, (0, 0), scale) for slope in slopes)]
    return np.dstack([2 * np.dstack(planes), np.full_like(light, time)])


class Appearance:
    """What tells foreground from background in a clip of T frames. Nothing, where one of them is hardly seen."""

    def __init__(
        self,
        frames: int,
        image: Callable[[int], np.ndarray],  # frame -> (H, W, 3) uint8
        certain: Callable[[int], tuple[np.ndarray, np.ndarray]],  # frame -> weights (H, W) of sure foreground and background
    ) -> None:
        self._frames = frames
        asked = np.unique(np.linspace(0, frames - 1, min(frames, _FRAMES)).round().astype(int)).tolist()
        count = _SAMPLES // len(asked)
        draw = np.random.default_rng(0)
        samples: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for index in asked:
            features = pixel_features(image(index), self._time(index))
            features = features.reshape(-1, features.shape[-1])
            for weights, taken in zip(certain(index), samples, strict=True):
                if (total := float(weights.sum(dtype=np.float64))) > 0:
                    most = min(count, 4 * np.count_nonzero(weights))
                    ends = np.cumsum(weights.ravel(), dtype=np.float64)
                    taken.append(features[np.minimum(np.searchsorted(ends, draw.uniform(0, total, most)), ends.size - 1)])
        counts = [sum(len(part) for part in taken) for taken in samples]
        self._model: Perceptron | None = None
        if min(counts) >= _FEWEST:
            equal = [_of_number(np.concatenate(taken), max(counts), draw) for taken in samples]
            self._model = Perceptron(np.concatenate(equal), np.repeat([True, False], max(counts)))

    def _time(self, index: int) -> float:
        return 2 * index / max(1, self._frames - 1) - 1

    def odds(self, index: int, image: np.ndarray) -> np.ndarray:
        """The logarithm of the odds that the pixels of a frame are the foreground's, (H, W) float32; 0 is even."""
        if self._model is None:
            return np.zeros(image.shape[:2], np.float32)
        return self._model.odds(pixel_features(image, self._time(index)))


def _of_number(samples: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """As many samples, some of them several times: both kinds count alike."""
    return samples if len(samples) == count else samples[draw.integers(0, len(samples), count)]
