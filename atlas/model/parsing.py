"""Parsing: a config as a dataclass, from the plain values that JSON holds."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def from_plain(kind: type[Config], data: Any) -> Config:
    """Build a dataclass of `kind` from the dict that `dataclasses.asdict` made of one.

    Strict, as the values may come from anyone: ValueError where one is unknown or of another type, and where the dataclass
    itself refuses it. What is missing, as an older version did not know it, has its default; ValueError where there is none.
    """
    if not isinstance(data, dict):
        raise ValueError(f"its {kind.__name__} is no JSON object")
    types = get_type_hints(kind)
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # of any dataclass
    if unknown := sorted(set(map(str, data)) - names):
        raise ValueError(f"{kind.__name__} has no {unknown[0][:40]!r}")
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}  # type: ignore[arg-type]
    if missing := sorted(needed - set(data)):
        raise ValueError(f"{missing[0]} of {kind.__name__} is missing")
    return kind(**{name: _typed(types[name], data[name], name) for name in names & set(data)})


def _typed(wanted: Any, value: Any, name: str) -> Any:
    """The value as one of the type `wanted`."""
    if is_dataclass(wanted):
        return from_plain(wanted, value)  # type: ignore[arg-type]  # a class, not an instance
    if get_origin(wanted) is Literal:
        if isinstance(value, str) and value in get_args(wanted):
            return value
    elif wanted is float:
        # A whole number may have hundreds of digits; NaN and infinity fail the test.
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            return float(value)
    elif isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{name} is {str(value)[:40]!r}")
