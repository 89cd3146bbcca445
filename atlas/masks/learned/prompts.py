"""Prompts: what --masks points:..., box:... and text:... ask for, as objects with points and boxes in frames.

    points:FRAME:x,y[,-x,y][;FRAME:...]     points on the object, in the source's pixels; after a minus, beside it
    box:x,y,w,h                             a box around it in the first frame
    text:WORDS                              what a detector finds

Several objects stand one after the other, `;` between them, each with a name: `swan=points:0:90,40;duck=box:10,20,30,40`. An
object that comes again gets more points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from atlas.clip.clip import BACKGROUND, WHOLE_FRAME, is_name
from atlas.errors import UserError, a_few
from atlas.masks.box import Box, check_box
from atlas.masks.folder import FOREGROUND, layer_names

_START = re.compile(r"\s*(?:(?P<name>[^=:;]*)=)?(?P<kind>points|box|text):(?P<rest>.*)", re.DOTALL)
_POINTS = re.compile(r"\s*(?P<frame>\d{1,7})\s*:(?P<pairs>.*)")
_NUMBER = re.compile(r"\s*(-?)(\d{1,6}(?:\.\d{1,6})?)\s*")
_MOST_OBJECTS = 32
_LONGEST = 200  # letters of a text that is looked for
GRAMMAR = "give points:FRAME:x,y[,-x,y][;FRAME:...], box:x,y,w,h or text:WORDS, each of several objects as NAME=..., in pixels"


@dataclass(frozen=True)
class Point:
    """A point of a frame in pixels, on the object or (not `inside`) beside it."""

    x: float
    y: float
    inside: bool = True


@dataclass(frozen=True)
class Prompt:
    """What points an object out in one frame."""

    points: tuple[Point, ...] = ()
    box: Box | None = None

    def __add__(self, other: Prompt) -> Prompt:
        return Prompt(tuple(dict.fromkeys(self.points + other.points)), other.box or self.box)

    def scaled(self, across: float, down: float) -> Prompt:
        """The same in another resolution."""
        points = tuple(Point(point.x * across, point.y * down, point.inside) for point in self.points)
        return Prompt(points, self.box.scaled(across, down) if self.box else None)


Prompts = tuple[tuple[int, Prompt], ...]
"""(frame, what points an object out there), in the order asked: later ones correct earlier ones."""


@dataclass(frozen=True)
class Asked:
    """An object that is asked for: where it is in some frames, or words for it."""

    name: str = ""
    prompts: Prompts = ()
    words: str = ""

    @property
    def is_points(self) -> bool:
        """Whether points alone are said of it."""
        return not self.words and bool(self.prompts) and all(prompt.box is None for _, prompt in self.prompts)

    def text(self) -> str:
        """What --masks says for it, in one way."""
        start = f"{self.name}=" if self.name else ""
        pieces = [f"{start}text:{self.words}"] if self.words else []
        for frame, prompt in self.prompts:
            if box := prompt.box:
                pieces.append(f"{start}{box.text()}")
            points = ",".join(f"{'' if one.inside else '-'}{one.x:.10g},{one.y:.10g}" for one in prompt.points)
            pieces += [f"{start}points:{frame}:{points}"] if points else []
        return ";".join(pieces)


def parse_prompts(text: str) -> tuple[Asked, ...] | None:
    """Parse the text of --masks into the objects that it asks for; None for a text that asks for none.

    Raises UserError for one that is not understood.
    """
    if not _START.fullmatch(text):
        return None
    asked: dict[str, Asked] = {}
    name, kind = "", ""
    for piece in text.split(";"):
        if start := _START.fullmatch(piece):
            name, kind, piece = _checked_name(start["name"], text), start["kind"], start["rest"]
        elif kind != "points":
            raise _not_understood(piece, text)
        asked[name] = _with(asked.get(name, Asked(name)), kind, piece, text)
    if len(asked) > _MOST_OBJECTS:
        raise UserError(f"--masks asks for {len(asked)} objects: ask for at most {_MOST_OBJECTS}")
    return tuple(asked.values())


def prompts_text(asked: Sequence[Asked]) -> str:
    """The text of --masks that asks for these objects."""
    return ";".join(one.text() for one in asked)


def check_prompts(asked: Sequence[Asked], frames: int, width: int, height: int) -> None:
    """UserError where a frame is not the clip's, or a point or box not inside a picture of width x height pixels."""
    for frame, prompt in (prompt for one in asked for prompt in one.prompts):
        if frame >= frames:
            raise UserError(f"--masks points:{frame}: the clip's frames are 0 to {frames - 1}")
        if box := prompt.box:
            check_box(box, width, height)
        for point in prompt.points:
            if not (point.x < width and point.y < height):
                where = f"{point.x:g},{point.y:g} of frame {frame}"
                raise UserError(f"--masks: the point {where} is outside: give pixels of the source, which is {width}x{height}")


def layers_of(asked: Sequence[Asked], found: Mapping[str, Sequence[tuple[int, Box]]]) -> dict[str, Prompts]:
    """The layers that the objects make, front to back, and what points each out.

    found: for the words of an object the boxes that they name, each in a frame: an object each. What has no name is called
    `foreground`, several are numbered; points for a layer that is there join it. UserError where nothing points an object out.
    """
    layers: dict[str, Prompts] = {}
    for one in asked:
        starts: list[Prompts] = [((frame, Prompt(box=box)),) for frame, box in found[one.words]] if one.words else [()]
        names = layer_names(len(starts), one.name or FOREGROUND)
        for name, start in zip(names, starts, strict=True):
            layers[name] = _corrected(layers.get(name, ()), start)
        if one.prompts:
            if len(names) > 1:
                raise UserError(f"--masks: {one.words!r} names several objects: say of which the points are, {a_few(layers)}")
            layers[names[0]] = _corrected(layers[names[0]], one.prompts)
    for name, prompts in layers.items():
        frame, first = prompts[0]
        if first.box is None and not any(point.inside for point in first.points):
            raise UserError(f"--masks {name}=points:{frame}: all its points lie beside the object: give one on it first")
    return layers


def joined(earlier: Sequence[Asked], later: Sequence[Asked], layers: Sequence[str]) -> tuple[Asked, ...]:
    """Objects that were asked for before, and points that are added. layers: those of the clip; points without a name are for
    the only one. UserError where there are several.
    """
    if any(not one.name for one in later) and len(layers) > 1:
        raise UserError(f"the clip has several objects: say which one, as {layers[0]}=points:... ({a_few(layers)})")
    asked = {one.name: one for one in earlier}
    for one in later:
        name = one.name or (layers[0] if layers else "")
        if name not in asked and layers and name == layers[0] and "" in asked and not asked[""].words:
            name = ""  # the only object, which has no name of its own
        before = asked.get(name, Asked(name))
        asked[name] = replace(before, prompts=_corrected(before.prompts, one.prompts))
    return tuple(asked.values())


def _corrected(prompts: Prompts, later: Prompts) -> Prompts:
    """Prompts with further ones, which join those of the same frame."""
    frames = dict(prompts)
    for frame, prompt in later:
        frames[frame] = frames.get(frame, Prompt()) + prompt
    return tuple(frames.items())


def _with(asked: Asked, kind: str, rest: str, text: str) -> Asked:
    """An object with what a piece of the text says of it."""
    if kind == "text":
        words = rest.strip().strip("\"'").strip()
        if asked.prompts or asked.words:
            raise UserError(f"--masks {_shown(text)} asks twice for one object: give several a name each, NAME=text:...")
        if not words or len(words) > _LONGEST or not words.isprintable():
            raise UserError(f"--masks text: says nothing to look for, or more than {_LONGEST} letters: give a word or a few")
        return replace(asked, words=words)
    if kind == "box":
        numbers = [_NUMBER.fullmatch(number) for number in rest.split(",")]
        if len(numbers) != 4 or not all(numbers):
            raise _not_understood(rest, text)
        x, y, width, height = (float(number[1] + number[2]) for number in numbers if number)
        return replace(asked, prompts=_corrected(asked.prompts, ((0, Prompt(box=Box(x, y, width, height))),)))
    match = _POINTS.fullmatch(rest)
    values = [_NUMBER.fullmatch(number) for number in match["pairs"].split(",")] if match else []
    if match is None or len(values) % 2 or not all(values):
        raise _not_understood(rest, text)
    pairs = list(zip(values[::2], values[1::2], strict=True))
    if any(y[1] for _, y in pairs if y):
        raise _not_understood(rest, text)
    points = tuple(Point(float(x[2]), float(y[2]), not x[1]) for x, y in pairs if x and y)
    return replace(asked, prompts=_corrected(asked.prompts, ((int(match["frame"]), Prompt(points)),)))


def _checked_name(name: str | None, text: str) -> str:
    if name is None:
        return ""
    name = name.strip()
    if not is_name(name) or name in (BACKGROUND, WHOLE_FRAME):
        raise UserError(f"--masks {_shown(text)}: {name!r} cannot name a layer: use letters, digits, '-' and '_'")
    return name


def _not_understood(piece: str, text: str) -> UserError:
    return UserError(f"--masks {_shown(text)} is not understood at {_shown(piece.strip())!r}: {GRAMMAR}")


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
