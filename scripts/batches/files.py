"""Read a job file: YAML, JSON or TOML, from anyone. What is read twice in a mapping, too large or no data at all is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import UserError, one_line
from atlas.system.terminal import in_one_line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST = 16_000_000  # bytes
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
    except yaml.YAMLError as problem:
        raise UserError(f"{path} is not understood: {_told(problem)}") from None
    except (ValueError, RecursionError) as problem:  # tomllib's errors are ValueErrors, as are numbers of too many digits
        told = "it is nested too deeply" if isinstance(problem, RecursionError) else in_one_line(one_line(problem))
        raise UserError(f"{path} is not understood: {told}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no clips and edits: begin it with `clips:` and `edits:`, or `data:`")
    return data


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C's where PyYAML was built with it
    """Plain data alone, by YAML 1.2's rules: `on`, `no` and dates are text; a key that stands twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Make a mapping, unless a key stands twice in it."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key is None:
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


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


def _told(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    what = getattr(problem, "problem", None) or str(problem)
    return in_one_line(f"line {mark.line + 1}: {what}" if mark else what)[:200]
