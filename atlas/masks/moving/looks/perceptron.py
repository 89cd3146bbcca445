"""A multilayer perceptron in NumPy that tells two kinds of samples apart, learned anew for each clip in a second."""

from __future__ import annotations

import numpy as np

_WIDTH = 32
_STEPS, _BATCH = 500, 1024
_RATE, _DECAY = 5e-3, 1e-4
_SMOOTHED = 0.05
"""Labels are this far from certain, so that odds stay finite (label smoothing)."""


class Perceptron:
    """Two hidden layers of rectified units, fitted with Adam to logistic loss. The same samples give the same odds."""

    def __init__(self, samples: np.ndarray, labels: np.ndarray) -> None:  # (N, C) float32, (N,) bool
        draw = np.random.default_rng(0)
        sides = (samples.shape[1], _WIDTH, _WIDTH, 1)
        self._weights = [
            draw.normal(0, np.sqrt(2 / before), (before, after)).astype(np.float32)
            for before, after in zip(sides, sides[1:], strict=False)
        ]
        self._biases = [np.zeros(after, np.float32) for after in sides[1:]]
        wanted = np.where(labels, 1 - _SMOOTHED, _SMOOTHED).astype(np.float32)[:, None]
        parameters = [*self._weights, *self._biases]
        means, squares = ([np.zeros_like(one) for one in parameters] for _ in range(2))
        for step in range(1, _STEPS + 1):
            chosen = draw.integers(0, len(samples), _BATCH)
            rate = 0.5 * _RATE * (1 + np.cos(np.pi * step / _STEPS))
            for one, slope, mean, square in zip(
                parameters, self._slopes(samples[chosen], wanted[chosen]), means, squares, strict=True
            ):
                mean += 0.1 * (slope - mean)
                square += 0.001 * (slope * slope - square)
                one -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)

    def odds(self, samples: np.ndarray) -> np.ndarray:
        """The logarithm of the odds that samples (..., C) are of the labelled kind: (...) float32."""
        return self._layers(samples.reshape(-1, samples.shape[-1]))[-1].reshape(samples.shape[:-1])

    def _layers(self, samples: np.ndarray) -> list[np.ndarray]:
        """What goes into each layer, and what comes out of the last."""
        values = [samples]
        for place, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            made = values[-1] @ weight + bias
            values.append(np.maximum(made, 0) if place + 1 < len(self._weights) else made)
        return values

    def _slopes(self, samples: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
        """The derivative of the loss by each parameter, weights first."""
        values = self._layers(samples)
        back = (1 / (1 + np.exp(-values[-1])) - wanted) / len(samples)
        weights, biases = [], []
        for place in reversed(range(len(self._weights))):
            weights.append(values[place].T @ back + _DECAY * self._weights[place])
            biases.append(back.sum(axis=0))
            if place:
                back = (back @ self._weights[place].T) * (values[place] > 0)
        return [*weights[::-1], *biases[::-1]]
