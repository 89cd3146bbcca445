"""The machine, its programs' versions and the code's state: without them a measurement is worth nothing."""

from __future__ import annotations

import ast
import contextlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("atlas", "aggregate", "edit", "scripts")
_PACKAGES = ("torch", "numpy", "opencv-python-headless", "opencv-python")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES")


def describe_machine() -> dict[str, Any]:
    """name, system, processor, cores (of them usable_cores), ram_gb, python, versions, environment, commit; None: unknown.

    Asks neither torch nor a GPU: cost.json of each stage names the device it used.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "ram_gb": _ram_gb(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "commit": commit(),
    }


def load() -> float | None:
    """How many processes wanted a core in the last minute, on average."""
    with contextlib.suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


def commit() -> str | None:
    """Commit of the code, "+" behind it where files differ from it; None outside git."""
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
        return found + ("+" if _git("status", "--porcelain", "--", *_PARTS) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def code_of(*modules: str) -> list[Path]:
    """The project's files that modules ("atlas.fitting.stage", ...) consist of, with all that they import from it."""
    found: dict[str, Path] = {}
    left = list(modules)
    while left:
        name = left.pop()
        path = _file_of(name)
        if path is None or name in found:
            continue
        found[name] = path
        left += [name.rpartition(".")[0], *_imported_by(path)]  # importing a module runs its package's code first
    return [found[name] for name in sorted(found)]


@cache
def _imported_by(path: Path) -> list[str]:
    """Modules, and names that may be modules, that a file imports anywhere."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] in _PARTS]


def _file_of(module: str) -> Path | None:
    """The file of a module of this project; None for other modules, and for packages without code."""
    first, *rest = module.split(".")
    if first not in _PARTS:
        return None
    whole = ROOT.joinpath(first, *rest)
    files = [whole.with_suffix(".py"), whole / "__init__.py"]
    return next((path for path in files if path.is_file()), None)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _ram_gb() -> float | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None
