"""The machine and its programs' versions: without them a measurement is worth nothing."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "opencv-python")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES")
CORES = "LAYERED_ATLAS_CORES"
"""The environment variable that names a process's share of the cores, where several share a machine."""


def describe_machine() -> dict[str, Any]:
    """name, system, processor, cores (of them usable_cores), ram_gb, python, versions, environment; None: unknown.

    Asks neither torch nor a GPU: cost.json of each stage names the device it used.
    """
    return {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "ram_gb": _ram_gb(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def usable_cores() -> int:
    """How many cores this process may use: of a shared machine often fewer than there are."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES, "")
    return min(there, max(int(share), 1)) if share.isdecimal() else there


def load() -> float | None:
    """How many processes wanted a core in the last minute, on average."""
    with contextlib.suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


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
