"""Which frames are edited: numbers, or `auto:K`, the K frames that together cover most of the layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import UserError

if TYPE_CHECKING:
    from atlas.maps.coverage import Visibility  # torch is loaded with it: the command's --help needs none

DEFAULT = "auto:5"


def automatic_count(keyframes: str) -> int | None:
    """K of "auto:K" ("auto" alone is the default); None where `keyframes` is a list of numbers."""
    text = keyframes.strip()
    if not text.startswith("auto"):
        return None
    match = re.fullmatch(r"auto(?::([0-9]{1,9}))?", text)
    count = int(match[1] or DEFAULT.split(":")[1]) if match else 0
    if count < 1:
        raise UserError(f"--keyframes {keyframes!r} is not understood: write auto:5, or frame numbers such as 0,12,24")
    return count


def named(keyframes: str | None, frames: int) -> list[int] | None:
    """Frame numbers that `keyframes` names, of a clip of `frames` frames; None where coverage is to choose them."""
    if not keyframes or automatic_count(keyframes) is not None:
        return None
    return listed(keyframes, frames)


def chosen(keyframes: str | None, seen: Visibility) -> list[int]:
    """The frames that cover most of the layer, as many as `keyframes` asks for; fewer where fewer show it."""
    return seen.choose(automatic_count(keyframes or DEFAULT) or 0)


def listed(
    keyframes: str,
    frames: int,
) -> list[int]:
    """Frame numbers of "0,12,24", sorted, each once; UserError where one is no number or past the clip's end."""
    parts = [part.strip() for part in keyframes.split(",") if part.strip()]
    if not parts or not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise UserError(f"--keyframes {keyframes!r} is not understood: write auto:5, or frame numbers such as 0,12,24")
    return checked([int(part) for part in parts], frames)


def checked(numbers: list[int], frames: int) -> list[int]:
    """`numbers` sorted, each once; UserError where one is past the end of a clip of `frames` frames."""
    for number in numbers:
        if number >= frames:
            raise UserError(f"keyframe {number} is past the end: the clip has frames 0 to {frames - 1}")
    return sorted(set(numbers))


def outwards(keyframes: list[int], seen: Visibility) -> list[int]:
    """The order in which keyframes look at each other: first the one that sees most of the layer, then, one by one, the one
    of which the earlier ones have seen the largest share; of equals the one nearest in time."""
    counts, left = seen.counts.astype(np.int64), sorted(keyframes)
    weights = counts.sum(0)
    order = [max(left, key=lambda k: (int(weights[counts[k] > 0].sum()), -k))]
    left.remove(order[0])
    while left:
        known = (counts[order] > 0).any(0)
        shares = {k: round(float(counts[k][known].sum() / max(counts[k].sum(), 1)), 3) for k in left}
        nearness = {k: -min(abs(k - done) for done in order) for k in left}
        order.append(max(left, key=lambda k: (shares[k], nearness[k], -k)))
        left.remove(order[-1])
    return order
