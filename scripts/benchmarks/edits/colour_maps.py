"""Colour maps of edits whose right answer is known: each can be applied to every frame, so that nothing has to be guessed."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from atlas.errors import UserError

ColourMap = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) float32 in [0, 1] -> the same


def filtered_and_tinted(colour: np.ndarray) -> np.ndarray:  # (H, W, 3) float32 -> the same
    """Smooth with a bilateral filter and tint warmly: what a pixel becomes depends on those around it as well."""
    smoothed = cv2.bilateralFilter(np.ascontiguousarray(colour, np.float32), 9, 0.15, 5)
    return np.clip(smoothed * np.array([1.1, 0.9, 0.7], np.float32) + np.float32(0.05), 0, 1)


COLOUR_MAPS: dict[str, ColourMap] = {
    # A curve that lifts the dark end, then a tint: white becomes orange, and black swans become brown ones.
    "orange": lambda colour: np.sqrt(colour) * np.array([1.0, 0.55, 0.1], np.float32),
    "invert": lambda colour: 1 - colour,
    # Every colour to another one of the same brightness: the channels change places.
    "rotate": lambda colour: colour[..., [2, 0, 1]],
    # Half a turn of the hue in HSV, whose saturation and value it keeps: the largest and the smallest channel change places.
    "hue": lambda colour: colour.max(-1, keepdims=True) + colour.min(-1, keepdims=True) - colour,
    "paint": filtered_and_tinted,
    # Steps, which no smooth change of colours can follow.
    "poster": lambda colour: np.round(colour * 4) / 4,
}


def named_maps(text: str) -> list[str]:
    """Read names of colour maps, separated by commas, each once; UserError where one is unknown or there is none."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names or set(names) - COLOUR_MAPS.keys():
        raise UserError(f"--map {text}: choose from {', '.join(COLOUR_MAPS)}, separated by commas")
    return names
