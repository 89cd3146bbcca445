"""Flicker that is known: what each frame of a true edit gets for itself, as frames that were edited one by one have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from atlas.storage.images import to_float, to_uint8

_GAIN, _OFFSET = 0.08, 0.02  # of each channel
_DEGREES = 12.0  # of hue
_CLOUD, _CLOUD_SIGMA = 0.06, 0.06  # its deviation, and its size as a share of the width
_BOIL, _BOIL_SIGMA = 0.05, 1.5  # pixels
_WOBBLE, _WOBBLE_SIGMA = 1.2 / 480, 0.05  # of the width, both
_GREY = np.ones(3) / 3**0.5  # the axis that hues turn about


@dataclass(frozen=True)
class Draw:
    """What one frame draws for itself."""

    gains: np.ndarray
    """(3,) standard normal numbers, as the offsets and the turn."""
    offsets: np.ndarray
    turn: float
    noise: np.random.Generator

    @classmethod
    def of(cls, index: int, frames: int, seed: list[int]) -> Draw:
        """Draw for frame `index` of `frames`. Gains, offsets and turns sum to 0: what all frames share is the edit."""
        numbers = np.random.default_rng(seed).standard_normal((frames, 7))
        own = numbers[index] - numbers.mean(0)
        return cls(own[:3], own[3:6], float(own[6]), np.random.default_rng([*seed, index]))


Disturbance = Callable[[np.ndarray, Draw], np.ndarray]
"""(H, W, 3) floats -> the same, not clipped."""


def gain(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Change the exposure: a gain and an offset for each channel."""
    return frame * (1 + _GAIN * draw.gains).astype(np.float32) + (_OFFSET * draw.offsets).astype(np.float32)


def hue(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Turn all colours about the grey axis."""
    turn, _ = cv2.Rodrigues(_GREY * np.deg2rad(_DEGREES * draw.turn))
    return frame @ turn.T.astype(np.float32)


def cloud(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Add a wide smooth noise: patches of the frame are lighter or darker, or tinted."""
    return frame + _CLOUD * _smooth_noise(frame.shape, _CLOUD_SIGMA * frame.shape[1], draw.noise)


def boil(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Add a fine smooth noise: texture that is invented anew."""
    return frame + _BOIL * _smooth_noise(frame.shape, _BOIL_SIGMA, draw.noise)


def wobble(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Move things a little: a smooth displacement."""
    height, width = frame.shape[:2]
    moved = _WOBBLE * width * _smooth_noise((height, width, 2), _WOBBLE_SIGMA * width, draw.noise)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(frame, x + moved[..., 0], y + moved[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def everything(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """All of them, one after the other."""
    for disturb in (wobble, hue, gain, cloud, boil):
        frame = disturb(frame, draw)
    return frame


def clean(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Leave the frame as it is: what deflickering itself costs."""
    return frame


DISTURBANCES: dict[str, Disturbance] = {
    "clean": clean,
    "gain": gain,
    "hue": hue,
    "cloud": cloud,
    "boil": boil,
    "wobble": wobble,
    "all": everything,
}


def disturbed(
    frame: np.ndarray,  # (H, W, 3) float32
    name: str,
    index: int,
    frames: int,
    seed: int = 0,
) -> np.ndarray:  # (H, W, 3) float32 in steps of 1/255
    """Disturb frame `index` of a clip of `frames` in the way of that name, for itself; the same each time."""
    draw = Draw.of(index, frames, [seed, list(DISTURBANCES).index(name)])
    return to_float(to_uint8(DISTURBANCES[name](frame, draw)))


def _smooth_noise(shape: tuple[int, ...], sigma: float, draw: np.random.Generator) -> np.ndarray:
    """Gaussian noise of mean 0 and deviation 1, blurred by `sigma` pixels; (H, W, C) float32."""
    margin = int(np.ceil(3 * sigma))  # cut off: the blur's border would be of another deviation
    rough = draw.standard_normal((shape[0] + 2 * margin, shape[1] + 2 * margin, shape[2]), np.float32)
    fine = cv2.GaussianBlur(rough, (0, 0), sigma)[margin : margin + shape[0], margin : margin + shape[1]]
    return fine * np.float32(2 * np.pi**0.5 * sigma)  # what a blur leaves of white noise: 1 / (2 sqrt(pi) sigma)
