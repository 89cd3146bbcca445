"""What the stages of a clip cost: processor time, memory, and the bytes and requests that a store takes around them."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from atlas.errors import UserError
from atlas.storage.links import remove
from atlas.storage.stamps import files_below, write_json
from atlas.system.command import CommonOptions
from scripts.plans.chain import Chains, ClipEntry, EditEntry, Options, whole_chain
from scripts.plans.engines.local import LocalEngine
from scripts.plans.engines.protocol import Ended, Outputs
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.store.driver import Stored
from scripts.plans.store.report import Report


@dataclass(kw_only=True)
class BenchStagesOptions(CommonOptions):
    """Measure what each stage of a clip costs, from its source to a measured edit, one after the other on one core."""

    source: tyro.conf.Positional[Path]
    """Film or folder of frames."""
    masks: str = "none"
    """As for `prepare.py`."""
    frames: int | None = None
    """Take so many."""
    preset: str = "preview"
    """Of the fit."""
    keyframes: str = "auto:5"
    """Of the edit, by the filter `hue`."""
    output: Path | None = None
    """JSON file for the figures, as `bench_scale.py --stages` takes it."""


def bench_stages(options: BenchStagesOptions) -> dict[str, Any]:
    """Measure; returns for each stage what it costs where the clip is there already, and what bringing it takes where not."""
    source = options.source.absolute()
    if not source.exists():
        raise UserError(f"{source} is missing: name a film or a folder of frames")
    masks = str(Path(options.masks).absolute()) if Path(options.masks).exists() else options.masks
    prepare: Options = {"masks": masks} | ({} if options.frames is None else {"frames": options.frames})
    layer: Options = {"layer": "background" if options.masks == "none" else "foreground", "editor": "filter", "filter": "hue"}
    entry = EditEntry("hue", (layer | {"keyframes": options.keyframes},), {"evaluate": {"weights": "none"}})
    with tempfile.TemporaryDirectory(prefix="bench-stages-") as name:
        folder = Path(name)
        plan = Plan()
        whole_chain(Chains(plan), ClipEntry("clip", folder / "clip", source, prepare), entry, {"preset": options.preset})
        (folder / "store").mkdir()
        stored = Stored(f"file://{folder / 'store'}", plan)
        stored.give()
        figures = {task.stage: _measured(task, stored, folder) for task in plan}
        figures["prepare"]["outside_bytes"] = _size(source) + (_size(Path(masks)) if Path(masks).is_absolute() else 0)
        whole = _size(folder / "clip")
    result: dict[str, Any] = {"frames": options.frames, "preset": options.preset, "clip_bytes": whole, "stages": figures}
    if options.output is not None:
        write_json(options.output, result)
    return result


def _measured(task: Task, stored: Stored, folder: Path) -> dict[str, float]:
    """What one stage costs. First nothing at all is done with the clip, on another disk: what bringing it takes."""
    other = folder / "other" / "clip"
    words = list(stored.wrapped(task, "cold").command)
    words = [str(other) if word == task.clip else word for word in words[: words.index("--") + 1]]
    _, cold = _run(replace(task, command=(*words, "-c", "")), "cold", stored, folder)
    before = _unread(Path(task.clip))
    ended, warm = _run(stored.wrapped(task, "warm"), "warm", stored, folder)
    read = sum(state.st_size for path, state in before.items() if _was_read(path, state))
    for path in (other, other.with_name(".clip.store.json")):
        remove(path)
    return {
        "cpu_seconds": ended.cpu_seconds or 0.0,
        "peak_mb": ended.peak_mb or 0.0,
        "read_bytes": read,
        "bytes_up": warm["bytes_up"],
        "puts": warm["puts"] + warm["lists"],
        "gets": warm["gets"],
        "bring_bytes": cold["bytes_down"],
        "bring_gets": cold["gets"],
    }


def _run(task: Task, report: str, stored: Stored, folder: Path) -> tuple[Ended, dict[str, int]]:
    engine = LocalEngine(1)
    alone = replace(task, resources=Resources(memory_mb=1))
    log = folder / "logs" / f"{task.id}.txt"
    try:
        engine.start(alone, Outputs(log, folder / "progress"))
        while not (ended := engine.wait(math.inf)):
            pass
    except BaseException:  # Ctrl-C does not reach the stage, which has a process group of its own
        engine.stop()
        raise
    told = Report.read(stored.remote, report)
    if ended[0].status != 0 or told is None:
        raise UserError(f"{task.title} ended with status {ended[0].status}: {log.read_text(errors='replace')[-300:]}")
    return ended[0], told.traffic


def _unread(folder: Path) -> dict[Path, os.stat_result]:
    """Set back when files were last read, on a disk that keeps account of that; returns their states."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns))
    return {path: path.stat() for path in files}


def _was_read(path: Path, before: os.stat_result) -> bool:
    """Whether a file was read since, or replaced or removed, for which it mostly is read."""
    if not path.exists():
        return True
    now = path.stat()
    return now.st_ino != before.st_ino or now.st_atime_ns > before.st_atime_ns


def _size(path: Path) -> int:
    return sum(file.stat().st_size for _, file in files_below(path))
