"""Keywords of a function as the options of a command: one dataclass says what there is, what it means, and its default."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from atlas.system.command import CommonOptions

Options = TypeVar("Options", bound=CommonOptions)
Function = TypeVar("Function", bound=Callable[..., Any])


def options_from(options_type: type[Options], **keywords: Any) -> Options:
    """Build a command's options from keywords: text may stand for a path, a list for a tuple; `quiet` is the default.

    Raises TypeError for a keyword that the command has no option for, and for one that is missing.
    """
    annotations = {field.name: str(field.type) for field in fields(options_type)}

    def fitting(name: str, value: Any) -> Any:
        if "Path" in annotations.get(name, "") and isinstance(value, (str, os.PathLike)):
            return Path(value)
        return tuple(value) if isinstance(value, list) else value

    return options_type(**{"quiet": True} | {name: fitting(name, value) for name, value in keywords.items()})


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
