"""Keywords of a function as the options of a command: one dataclass says what there is, what it means, and its default."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from atlas.errors import UserError
from atlas.system.command import CommonOptions

Options = TypeVar("Options", bound=CommonOptions)
Function = TypeVar("Function", bound=Callable[..., Any])


def options_from(options_type: type[Options], **keywords: Any) -> Options:
    """Build a command's options from keywords: text may stand for a path, a list for a tuple; `quiet` is the default.

    Raises TypeError for a keyword that the command has no option for, and for one that is missing; UserError for a value that
    is none of an option's choices.
    """
    for name, choices in _choices(options_type).items():
        if keywords.get(name, choices[0]) not in choices:
            raise UserError(f"{name}={keywords[name]!r}: choose one of {', '.join(map(repr, choices))}")
    annotations = {field.name: str(field.type) for field in fields(options_type)}

    def fitting(name: str, value: Any) -> Any:
        if "Path" in annotations.get(name, "") and isinstance(value, (str, os.PathLike)):
            return Path(value)
        return tuple(value) if isinstance(value, list) else value

    return options_type(**{"quiet": True} | {name: fitting(name, value) for name, value in keywords.items()})


def _choices(options_type: type[CommonOptions]) -> dict[str, tuple[Any, ...]]:
    """What may stand for each option that takes one of a few words: of `Literal`, and None where that is allowed."""
    found = {}
    for name, hint in get_type_hints(options_type).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if any(get_origin(kind) is Literal for kind in kinds) and all(get_origin(k) is Literal or k is NoneType for k in kinds):
            found[name] = tuple(choice for kind in kinds for choice in (get_args(kind) or (None,)))
    return found


def with_keywords_of(options_type: type[CommonOptions]) -> Callable[[Function], Function]:
    """Let `help` show all keywords of a function that ends in `**options`: those of the dataclass, with their defaults."""

    def shown(function: Function) -> Function:
        own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {p.name for p in own}
        options = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=True
                if field.name == "quiet"
                else inspect.Parameter.empty
                if field.default is MISSING
                else field.default,
                annotation=field.type,
            )
            for field in fields(options_type)
            if field.name not in names
        ]
        signature = inspect.signature(function)
        function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return function

    return shown
