"""Read a job file: YAML, JSON or TOML, from anyone. What stands twice in a mapping, is too large or no data is refused."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import UserError, one_line
from atlas.system.terminal import in_one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST = 16_000_000  # bytes, or characters with what aliases stand for written out
_MERGE = "tag:yaml.org,2002:merge"
SUFFIXES = (".yaml", ".yml", ".json", ".toml")


def read_job_file(path: Path) -> dict[str, Any]:
    """Read a job file as a mapping; UserError names the file and what is wrong with it."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no job file: write one that ends with {', '.join(SUFFIXES)}")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UserError(f"{path} is no file: name a job file")
        if size > _LARGEST:
            raise UserError(f"{path} has {size / 1e6:.0f} MB, more than the {_LARGEST // 10**6} MB of a job file: divide it")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} is missing: name a job file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8: save it as that") from None
    try:
        data = tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.load(text, _Loader)  # noqa: S506
        if _size(data, {}) > _LARGEST:
            raise UserError(f"{path} is too large with its aliases written out: name each value where it is needed")
    except yaml.YAMLError as problem:
        raise UserError(f"{path} is not understood: {_reason(problem)}") from None
    except (ValueError, RecursionError) as problem:  # tomllib's errors are ValueErrors, as are numbers of too many digits
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else in_one_line(one_line(problem))
        raise UserError(f"{path} is not understood: {reason}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no clips and edits: begin it with `clips:` and `edits:`, or `data:`")
    return data


def read_plain(text: str) -> Any:
    """A number, true, false or null, as a job file has them; any other text as it is."""
    try:
        value = yaml.load(text, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | None) else text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C's where PyYAML was built with it
    """Plain data alone, by YAML 1.2's rules: `on`, `no` and dates are text; a key that stands twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged into a mapping (`<<`), unless a key stands twice in it as it is written."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key_node.value in seen and key_node.tag != _MERGE:
                raise yaml.constructor.ConstructorError(None, None, f"{key_node.value!r} stands twice", key_node.start_mark)
            seen.add(key_node.value)
        super().flatten_mapping(node)
        # Each key once, also where the mapping is merged into another one before it is made itself.
        node.value = list({key_node.value: (key_node, value) for key_node, value in node.value}.values())


# By YAML 1.2: 012 is 12, and there are no other notations of whole numbers.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^[-+]?[0-9]+$", "-+0123456789")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789")
_resolve("null", r"^(?:~|null|Null|NULL|)$", "~nN")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_resolve("merge", r"^<<$", "<")


def _size(value: Any, sizes: dict[int, float]) -> float:
    """Characters of a value with its aliases written out; infinite where it holds itself. sizes: those known, by id."""
    if not isinstance(value, dict | list):
        return 1 + len(value) if isinstance(value, str) else 1
    if id(value) not in sizes:
        sizes[id(value)] = math.inf  # for as long as it is not known
        inside = (*value, *value.values()) if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_size(one, sizes) for one in inside)
    return sizes[id(value)]


def _reason(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    what = getattr(problem, "problem", None) or str(problem)
    return in_one_line(f"line {mark.line + 1}: {what}" if mark else what)[:200]
