"""The code that a figure is of: all files of it, no others, and every module that is named by a string exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from scripts.benchmarks.code_state import code_of, file_of
from scripts.benchmarks.parts import GENERAL, OF_A_CLIP
from scripts.jobs.process import ROOT


def modules_named(path: Path) -> set[str]:
    """Strings of a file that read like modules of scripts/."""
    strings = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}
    return {text for text in strings if isinstance(text, str) and re.fullmatch(r"scripts(\.\w+)+", text)}


def test_what_scripts_are_made_of() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in code_of("scripts.oracle")}
    assert {
        "scripts/oracle.py",
        "scripts/benchmarks/edits/oracle.py",
        "edit/editors/images.py",
        "aggregate/network.py",
        "atlas/geometry/warp.py",
    } <= names
    assert "scripts/benchmarks/bench.py" not in names and "scripts/fit.py" not in names
    assert {"atlas/__init__.py", "edit/__init__.py"} <= names, "what is run on importing anything"


def test_what_a_fit_is_made_by() -> None:
    names = {path.stem for path in code_of("scripts.benchmarks.chained_start")}
    assert {"chained_start", "stage", "run", "training", "solve", "warp", "series"} <= names
    assert not names & {"bench", "report", "export", "prepare"}, "other code may change, and figures stay"


def test_modules_named_by_a_string_exist() -> None:
    """Or a process of that name fails hours later, and figures are kept while their code changes."""
    named = {name: path for path in (ROOT / "scripts").rglob("*.py") for name in modules_named(path)}
    assert {
        "scripts.benchmarks.chained_start",
        "scripts.benchmarks.edits.pace",
        "scripts.render",
        "scripts.fit",
    } <= named.keys()
    for name, path in named.items():
        assert file_of(name), f"{path} names {name}, which is no module: correct the name"


def test_a_part_counts_all_that_it_runs_as_processes() -> None:
    for part in (*GENERAL, *OF_A_CLIP):
        code = part.code()
        for path in code:
            if path.is_relative_to(ROOT / "scripts" / "benchmarks" / "edits"):
                assert modules_named(path) <= set(part.runs), f"part {part.name}: add what {path} runs to its `runs`"
        assert {file_of(name) for name in part.runs} <= set(code)


def test_a_module_that_is_not_there_has_no_code() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"scripts\.none"):
        code_of("scripts.none")
