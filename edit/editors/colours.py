"""Colours by name or as #rrggbb."""

from __future__ import annotations

import re

import numpy as np

NAMES: dict[str, str] = {
    "black": "#000000", "white": "#ffffff", "grey": "#808080", "red": "#d7191c", "orange": "#ff8c00", "yellow": "#ffd700",
    "gold": "#d4a017", "green": "#1a9641", "lime": "#8fd400", "teal": "#008080", "cyan": "#00b7d8", "blue": "#1f4fd8",
    "navy": "#14285a", "purple": "#7b2fbe", "violet": "#9a5bff", "magenta": "#e020c0", "pink": "#ff8fb8", "brown": "#8b4a1e",
}  # fmt: skip


def parse_colour(text: str) -> np.ndarray:
    """(3,) float32 RGB in [0, 1] of a name or #rrggbb; ValueError lists the names where it is neither."""
    code = NAMES.get(text.lower(), text)
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", code):
        raise ValueError(f"{text!r} is no colour (write #rrggbb or one of {', '.join(NAMES)})")
    digits = code.lstrip("#")
    return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255
