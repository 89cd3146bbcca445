"""The state of the code that a figure is measured with: its commit, and the files that a command consists of."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

from scripts.jobs.process import ROOT

_PACKAGES = ("atlas", "aggregate", "edit", "scripts")


def commit() -> str | None:
    """Commit of the code, "+" behind it where files differ from it; None outside git."""
    try:
        short = _git("rev-parse", "--short=12", "HEAD")
        return short + ("+" if _git("status", "--porcelain", "--", *_PACKAGES) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def code_of(*modules: str) -> list[Path]:
    """The project's files that modules ("atlas.fitting.stage", ...) consist of, with all that they import from it.

    ModuleNotFoundError for a module that is none of the project's: figures would not hang on its code.
    """
    for name in modules:
        if file_of(name) is None:
            raise ModuleNotFoundError(f"{name} is no module of this project")
    files: dict[str, Path] = {}
    left = list(modules)
    while left:
        name = left.pop()
        path = file_of(name)
        if path is None or name in files:
            continue
        files[name] = path
        left += [name.rpartition(".")[0], *_imported_by(path)]  # importing a module runs its package's code first
    return [files[name] for name in sorted(files)]


@cache
def _imported_by(path: Path) -> list[str]:
    """Modules, and names that may be modules, that a file imports anywhere."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] in _PACKAGES]


def file_of(module: str) -> Path | None:
    """The file of a module of this project; None for other modules, and for packages without code."""
    first, *rest = module.split(".")
    if first not in _PACKAGES:
        return None
    whole = ROOT.joinpath(first, *rest)
    candidates = [whole.with_suffix(".py"), whole / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
