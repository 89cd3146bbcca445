"""Options of the stages' commands, as their dataclasses have them: which there are, what suits each, and as arguments."""

from __future__ import annotations

import math
import types
from dataclasses import Field, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from atlas.errors import UserError, a_few
from atlas.options.aggregate import AggregateOptions
from atlas.options.evaluate import EvaluateOptions
from atlas.options.fit import FitOptions
from atlas.options.render import RenderOptions
from atlas.preparation.stage import PrepareOptions
from atlas.system.command import StageOptions
from atlas.system.terminal import in_one_line
from edit.editors import EditOptions
from scripts.plans.places import FILES, Places

# What a plan sets itself: where a stage works, under which name, and how it talks.
_OWN = {"clip", "source", "name", "fit", "edit", "quiet", "wait", "json", "compare", "output", "force"}


_TYPES: dict[str, type[StageOptions]] = {
    "prepare": PrepareOptions,
    "fit": FitOptions,
    "edit": EditOptions,
    "aggregate": AggregateOptions,
    "render": RenderOptions,
    "evaluate": EvaluateOptions,
}
STAGES = tuple(_TYPES)
"""The stages of a plan, in order."""
FIT_STAGES, EDIT_STAGES = STAGES[:2], STAGES[2:]


@dataclass(frozen=True)
class Option:
    """One option of a stage."""

    name: str
    """The field's."""
    flag: str
    """As the command line has it, without dashes before it: merge_steps of `aggregate.py` is `steps` there."""
    kind: Any
    """The type of its values, without what tyro is told beside it."""
    default: Any

    @property
    def is_path(self) -> bool:
        """Whether its type says that it names a file or folder."""
        return Path in (self.kind, *get_args(self.kind))

    def taken(self, value: Any) -> Any:
        """A value from a file, as one of the option's type; ValueError says what it should be."""
        return _taken(self.kind, value)

    def arguments(self, value: Any) -> list[str]:
        """Words of the command line that say this value."""
        flag = self.flag.replace("_", "-")
        if value is None or value == ():
            return []
        if self.kind is bool:
            return [] if value == self.default else [f"--{flag}" if value else f"--no-{flag}"]
        if isinstance(value, tuple):
            return [f"--{flag}", *map(_word, value)]
        return [f"--{flag}={_word(value)}"]  # in one word: a text may begin with a dash


@cache
def options_of(stage: str) -> dict[str, Option]:
    """The options of a stage that a plan does not set itself, by name."""
    kind = _TYPES[stage]
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: _option(one, hints[one.name]) for one in fields(kind) if one.name not in _OWN}


def _option(field: Field[Any], hint: Any) -> Option:
    flag = field.name
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        flag = next((note.name for note in notes if getattr(note, "name", None)), flag)
    return Option(field.name, flag, hint, field.default)


def option_of(stage: str, name: str) -> Option | None:
    """The option of a stage by its name, or by what the command line calls it; dashes may stand for underscores."""
    known, plain = options_of(stage), name.replace("-", "_")
    return known.get(plain) or next((option for option in known.values() if option.flag == plain), None)


def taken_options(stage: str, given: dict[str, Any], where: str, places: Places) -> dict[str, Any]:
    """Options of one stage from a file, by the names of their fields; UserError where one is unknown or has a wrong value.

    where: file and entry, for the message.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        option = option_of(stage, name)
        if option is None:
            raise UserError(f"{where}: {stage} has no option {in_one_line(str(name))[:60]!r}: see scripts/{stage}.py --help")
        values[option.name] = taken(option, value, f"{where}, {name}", places)
    return values


def taken(option: Option, value: Any, where: str, places: Places) -> Any:
    """A value from a file for an option, with paths as they are from here; UserError where it does not suit it."""
    try:
        made = option.taken(value)
    except ValueError as problem:
        raise UserError(f"{where}: {in_one_line(repr(value))[:80]} is not {problem}") from None
    if made is None:
        return None
    if option.is_path:
        return places.path(made, where)
    if option.name not in FILES:
        return made
    return tuple(places.text(one, where) for one in made) if isinstance(made, tuple) else places.text(made, where)


def arguments_of(stage: str, values: dict[str, Any]) -> list[str]:
    """Words of a stage's command line that say these values, in the order of its options."""
    given = [option for option in options_of(stage).values() if option.name in values]
    return [word for option in given for word in option.arguments(values[option.name])]


def _word(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _taken(kind: Any, value: Any) -> Any:
    """A value of a type; ValueError says which it should be."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _taken(Union[tuple(one for one in inner if one is not type(None))], value)  # noqa: UP007
    if origin is Literal:
        if value not in inner or isinstance(value, bool) != any(isinstance(one, bool) for one in inner):
            raise ValueError(f"one of {a_few(inner, 20)}")
        return value
    if origin is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        if inner[-1] is not Ellipsis and len(values) != len(inner):
            raise ValueError(f"a list of {len(inner)} values")
        return tuple(_taken(inner[0 if inner[-1] is Ellipsis else place], one) for place, one in enumerate(values))
    return _simple(kind, value)


def _simple(kind: Any, value: Any) -> Any:
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if isinstance(value, bool):
        raise ValueError(_CALLED.get(kind, "a value for it"))
    if kind is int and isinstance(value, int):
        return value
    if kind is float and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if kind is str and isinstance(value, str | int | float):
        return _text(str(value))
    if kind is Path and isinstance(value, str | Path) and str(value):
        return Path(_text(str(value)))
    raise ValueError(_CALLED.get(kind, "a value for it"))


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return text


_CALLED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
