"""What a stage cost: wall and CPU seconds, peak memory, and on which machine.

Kept in the clip's cost.json, apart from its fits and edits, whose files are identical from run to run.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.storage.stamps import read_json, updating, write_json
from atlas.system.decoration import decoration

COST = "cost.json"
_TEXTS = {"machine", "system", "device", "preset"}
"""What is text in it; all else is a number, or unknown."""
_LONGEST = 300
_before = 0.0  # most main memory until peaks were last started anew


@contextlib.contextmanager
def measured(folder: Path, stage: str) -> Iterator[dict[str, Any]]:
    """Measure the block and write what it cost to `folder`/cost.json under the stage's name, if it ends well.

    Gives a dict: what the block puts there (frames, sizes, ...) is written along. The folder may come into being inside the
    block. Peak RAM is the block's own on Linux, elsewhere the process's so far.
    """
    extra: dict[str, Any] = {}
    _reset_peaks()
    wall, processor = time.perf_counter(), cpu_seconds()
    yield extra
    cost = {
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(cpu_seconds() - processor, 3),
        "peak_ram_mb": peak_ram_mb(),
        "peak_vram_mb": _peak_vram_mb(),
        "machine": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "device": _device_name(),
    }
    with decoration(str(folder / COST)), updating(folder / COST):  # other stages may write their own at the same time
        write_json(folder / COST, read_costs(folder) | {stage: cost | extra})


@dataclass
class Pace:
    """How fast gradient steps went, as far as this process made them; a sample is a pixel that should be reconstructed."""

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0

    @contextlib.contextmanager
    def timed(self, steps: int, samples: int) -> Iterator[None]:
        """Count what the block takes as that of `steps` steps with `samples` samples in all."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.steps, self.samples = self.steps + steps, self.samples + samples

    def figures(self) -> dict[str, float | None]:
        """steps and samples_per_second, as they stand in cost.json."""
        return {"steps": self.steps, "samples_per_second": round(self.samples / self.seconds, 1) if self.seconds else None}


def read_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Costs by stage as they stand in a folder, {} where there are none; without what is no number where one belongs."""
    try:
        costs = read_json(folder / COST)
    except UserError:
        return {}
    if not isinstance(costs, dict):
        return {}
    return {
        stage: {name: value for name, value in cost.items() if _is_plausible(name, value)}
        for stage, cost in costs.items()
        if isinstance(cost, dict)
    }


def _is_plausible(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str) and len(value) <= _LONGEST
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def cpu_seconds() -> float:
    """Processor seconds of this process so far, and of the programs it waited for (ffmpeg)."""
    return sum(os.times()[:4])


def _reset_peaks() -> None:
    global _before
    _before = max(_before, peak_ram_mb() or 0.0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM starts anew
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def forget_peaks() -> None:
    """Begin a command in a process that runs one after the other: peaks start anew, as far as the system lets them."""
    global _before
    _reset_peaks()
    _before = 0.0


def highest_ram_mb() -> float | None:
    """Most main memory that this process has taken for the running command, MB, whatever was measured within it.

    With what it held before; elsewhere than on Linux the most so far. None where the system does not tell.
    """
    peak = peak_ram_mb()
    return None if peak is None else max(peak, _before)


def peak_ram_mb() -> float | None:
    """Most main memory that this process has taken so far, or since `measured` began, MB; None where nobody tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _cuda() -> Any:
    """torch.cuda where this process uses it: measuring must not be what loads torch or starts CUDA."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None


def _peak_vram_mb() -> float | None:
    cuda = _cuda()
    return round(cuda.max_memory_allocated() / 2**20, 1) if cuda else None


def _device_name() -> str:
    cuda = _cuda()
    return cuda.get_device_name() if cuda else platform.processor() or "cpu"
