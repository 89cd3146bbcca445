"""Memory of a command: the collector is off while libraries load and costs nothing later, and freed memory is used again."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from atlas.system.loading import keep_freed_memory

ROOT = Path(__file__).resolve().parents[3]


def told(code: str) -> list[str]:
    """What a new process prints, which has not loaded torch."""
    code = f"import gc, sys\nfrom atlas.system.loading import loading\n{code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.slow
def test_what_is_loaded_is_left_alone_by_the_collector() -> None:
    loads = "with loading():\n import torch\n print(gc.isenabled())\nprint(gc.isenabled(), gc.get_freeze_count() > 50_000)"
    again = "\nwith loading():\n print(gc.isenabled())\nprint(gc.get_freeze_count() == before)"
    assert told(f"{loads}\nbefore = gc.get_freeze_count(){again}") == ["False", "True", "True", "True", "True"]


def test_the_collector_is_on_again_whatever_happens() -> None:
    failing = (
        "try:\n with loading():\n  import no_such_library\nexcept ImportError:\n print(gc.isenabled(), gc.get_freeze_count())"
    )
    assert told(failing) == ["True", "0"]
    assert told("gc.disable()\nwith loading():\n pass\nprint(gc.isenabled())") == ["False"]  # of who wants it off


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere memory is left as it is")
def test_freed_memory_serves_every_thread_again() -> None:
    fills = "def fill():\n for _ in range(5): np.ones(5_000_000, np.float32)\n"  # 20 MB, of 5000 pages
    asks = "def faults():\n return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
    begins = "fill()\nbefore = faults()\nother = threading.Thread(target=fill)\nother.start()\n"
    other = f"{begins}other.join()\nprint(faults() - before)"
    imports = "import os\nos.environ['NUMPY_MADVISE_HUGEPAGE'] = '0'\nimport resource, threading\nimport numpy as np\n"
    keeping = "from atlas.system.loading import keep_freed_memory\nkeep_freed_memory()\n"
    usual, kept = (int(told(imports + begun + fills + asks + other)[0]) for begun in ("", keeping))
    assert kept < usual / 10


MALLOCS = [(1 << 40, [-3, -8, -1]), (1 << 25, [-3, -3, -8, -1]), (0, [-3, -3]), (None, [])]


@pytest.mark.parametrize(("largest", "asked"), MALLOCS)  # numbers of glibc's malloc.h: -3 is the threshold
def test_where_no_threshold_is_taken_the_rest_is_left(
    largest: int | None, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older glibc refuses large ones, another malloc has no such thing; the other settings alone make it worse."""
    settings: list[int] = []

    def mallopt(setting: int, value: int) -> int:
        settings.append(setting)
        return int(setting != -3 or value <= (largest or 0))

    library = SimpleNamespace() if largest is None else SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    keep_freed_memory()
    assert settings == asked
