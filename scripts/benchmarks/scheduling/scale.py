"""Thousands of clips on a simulated cluster, run by the scheduler itself: time, bytes, requests, and what gives way first."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

from atlas.errors import UserError
from atlas.storage.stamps import read_json
from atlas.system.command import CommonOptions
from atlas.system.cost import peak_ram_mb
from atlas.system.progress import Progress
from scripts.benchmarks.scheduling.cluster import Cluster, Totals
from scripts.benchmarks.scheduling.overhead import without_files
from scripts.benchmarks.scheduling.site import Site, StageCost
from scripts.plans.chain import Chains, ClipEntry, EditEntry, whole_chain
from scripts.plans.engines.turns import Turns
from scripts.plans.options import STAGES
from scripts.plans.plan import MOST_TASKS, Plan, Resources
from scripts.plans.run import run_plan
from scripts.plans.state import State

MEASURED = {
    "prepare": StageCost(14.744, 183.6, 0, 190164289, 124, 4, 10718, 2, outside_bytes=3714761),
    "fit": StageCost(158.844, 1032.6, 187910574, 222639833, 43, 16, 190163665, 111),
    "edit": StageCost(3.675, 327.6, 171636886, 2954173, 18, 1, 412786841, 128),
    "aggregate": StageCost(8.849, 530.5, 177541197, 2216271, 22, 1, 418660602, 140),
    "render": StageCost(6.549, 380.5, 196860670, 2993750, 15, 2, 420864057, 151),
    "evaluate": StageCost(22.222, 574.8, 346457574, 20650, 13, 3, 423832233, 152),
}
"""By `bench_stages.py`: 50 frames of 768x432 (`blackswan`), preset `standard`, five keyframes of the foreground."""
_OVERHEAD_MB = 200  # that a stage is given beyond its measured peak


@dataclass(kw_only=True)
class BenchScaleOptions(CommonOptions, Site):
    """Simulate many clips on many nodes: the plans are real and are run by the real scheduler; nodes are numbers.

    Clips that one plan does not hold are divided into several, which run side by side, each on its share of nodes and disk.
    """

    clips: int = 10_000
    """In all."""
    edits: int = 3
    """Of each clip."""
    stages: Path | None = None
    """What stages cost, as `bench_stages.py --output` measured it. Default: 50 frames of 768x432, preset `standard`."""
    length: float = 0.5
    """Standard deviation of the logarithm of clips' lengths."""
    gpu_seconds: float = 0.0
    """Seconds that an edit takes on one GPU, an assumption of yours; 0: edits are filters, as measured."""
    shards: int | None = None
    """Plans that the clips are divided into. Default: as few as hold them."""
    seed: int = 0
    """Of all that is drawn: lengths, seconds, failures, stragglers."""


@dataclass(frozen=True)
class _Shard:
    """How one plan went."""

    tasks: int
    left: int
    """Tasks that are not done."""
    seconds: float
    """Simulated, from start to end."""
    totals: Totals
    plan_mb: float
    """Of plan.json and state.jsonl."""


def bench_scale(options: BenchScaleOptions) -> dict[str, Any]:
    """Simulate; returns what it took in simulated time and bytes, and what the scheduler took of this machine."""
    tasks = options.clips * (2 + 4 * options.edits)
    shards = options.shards or max(1, math.ceil(tasks / MOST_TASKS))
    _check(options, shards)
    costs, random, began = _costs(options), Random(options.seed), time.process_time()
    if (needed := max(_memory_mb(cost) for cost in costs.values())) > options.memory_mb:
        raise UserError(f"--memory-mb {options.memory_mb}: a stage takes {needed}, which no node would have")
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        numbers = Progress(range(shards), "simulate", unit="plan", quiet=options.quiet)
        runs = [_run(options, costs, number, shards, Path(name) / str(number), random) for number in numbers]
    return _report(options, runs, time.process_time() - began)


def _check(options: BenchScaleOptions, shards: int) -> None:
    counts = {"clips": options.clips, "edits": options.edits, "nodes": options.nodes, "cores": options.cores, "shards": shards}
    if wrong := [name for name, count in counts.items() if count < 1]:
        raise UserError(f"--{wrong[0]} {counts[wrong[0]]}: give 1 or more")
    if shards > min(options.clips, options.nodes):
        raise UserError(f"{shards} plans need as many clips and nodes: give more --nodes or --clips, or fewer --shards")
    if not (0 <= options.slow <= 1 and 0 <= options.crashes < 1 and options.shared_mb > 0 and options.node_mb > 0):
        raise UserError("give --slow and --crashes from 0 to 1, and --shared-mb and --node-mb above 0")
    if options.gpu_seconds and (options.gpu_nodes // shards < 1 or options.gpus < 1):
        raise UserError("--gpu-seconds needs --gpu-nodes, one or more for each plan, and --gpus of each")


def _costs(options: BenchScaleOptions) -> dict[str, StageCost]:
    """What each stage costs; UserError where a file of figures does not say."""
    costs = dict(MEASURED)
    if options.stages is not None:
        try:
            saved = read_json(options.stages)["stages"]
            costs = {stage: StageCost(**{name: float(value) for name, value in saved[stage].items()}) for stage in STAGES}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{options.stages} holds no figures of stages: write it with bench_stages.py --output") from None
    if options.gpu_seconds:
        costs["edit"] = StageCost(**asdict(costs["edit"]) | {"cpu_seconds": options.gpu_seconds, "gpus": 1.0})
    return costs


def _run(
    options: BenchScaleOptions, costs: dict[str, StageCost], number: int, shards: int, folder: Path, random: Random
) -> _Shard:
    """Run one plan."""
    folder.mkdir()
    plan = _plan(options, costs, folder, _part(options.clips, shards, number))
    plan.write(folder, {"rows": []})
    spread = options.length
    clips = dict.fromkeys(task.clip for task in plan)
    lengths = {clip: math.exp(random.gauss(-spread * spread / 2, spread)) for clip in clips}
    own = {one.name: getattr(options, one.name) for one in fields(Site)}
    own |= {name: _part(own[name], shards, number) for name in ("nodes", "gpu_nodes")}
    site = Site(**own | {"shared_mb": options.shared_mb / shards})
    cluster = Cluster(site, lambda task: costs[task.stage], lengths.__getitem__, random)
    state = State(folder)
    run_plan(plan, state, Turns(cluster) if options.is_store else cluster)
    left = len(plan) - sum(record.state == "done" for record in state.records.values())
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6
    return _Shard(len(plan), left, cluster.now(), cluster.totals, size)


def _plan(options: BenchScaleOptions, costs: dict[str, StageCost], folder: Path, clips: int) -> Plan:
    """Clips of some edits each; tasks ask for what their stages take."""
    chains = Chains(Plan())
    for clip in range(clips):
        entry = ClipEntry(f"clip-{clip}", folder / "clips" / str(clip), folder / f"{clip}.mp4")
        for number in range(options.edits):
            layer = {"layer": "foreground", "editor": "filter", "filter": "hue"}
            whole_chain(chains, entry, EditEntry(f"edit-{number}", (layer,)), {})
    asked = {stage: Resources(cores=1, gpus=cost.gpus, memory_mb=_memory_mb(cost)) for stage, cost in costs.items()}
    return without_files(chains.plan, asked)


def _memory_mb(cost: StageCost) -> int:
    """What a stage is given."""
    return round(cost.peak_mb) + _OVERHEAD_MB


def _part(count: int, shards: int, number: int) -> int:
    """How many of `count` the shard of a number gets."""
    return count * (number + 1) // shards - count * number // shards


def _report(options: BenchScaleOptions, runs: list[_Shard], processor: float) -> dict[str, Any]:
    seconds, tasks = max(run.seconds for run in runs), sum(run.tasks for run in runs)

    def total(name: str) -> float:
        return float(sum(getattr(run.totals, name) for run in runs))

    ends = sum((run.totals.ends for run in runs), Counter[str]())
    occupied = total("core_seconds") + total("lost_seconds") + total("moving_seconds") + total("queueing_seconds")
    busiest = {
        "cores": total("core_seconds") / (options.nodes * options.cores * seconds),
        "disk": total("disk_seconds") / len(runs) / seconds,
        "scheduler": max(run.totals.scheduler_seconds / run.seconds for run in runs),
    }
    if options.gpu_nodes:
        busiest["gpus"] = total("gpu_seconds") / (options.gpu_nodes * options.gpus * seconds)
    tries = sum(ends[name] for name in ("done", "crashed", "lost", "busy"))
    return {
        "clips": options.clips,
        "tasks": tasks,
        "left": sum(run.left for run in runs),
        "plans": len(runs),
        "hours": round(seconds / 3600, 3),
        "hours_of_each_plan": [round(run.seconds / 3600, 3) for run in runs],
        "core_hours": round(total("core_seconds") / 3600, 1),
        "gpu_hours": round(total("gpu_seconds") / 3600, 1),
        "lost_core_hours": round(total("lost_seconds") / 3600, 1),
        "busy": {name: round(share, 3) for name, share in busiest.items()},
        "waiting_hours": {
            "for the disk and requests": round(total("moving_seconds") / 3600, 1),
            "for the scheduler": round(total("queueing_seconds") / 3600, 1),
            "share of occupied": round((total("moving_seconds") + total("queueing_seconds")) / occupied, 3),
        },
        "gigabytes": {"read": round(total("brought") / 1e3, 2), "written": round(total("taken_back") / 1e3, 2)},
        "requests": {"put_and_list": round(total("puts")), "get": round(total("gets"))} if options.is_store else {},
        "at_home": round(total("at_home") / tries, 3),
        "ends": dict(sorted(ends.items())),
        "plan_mb": round(max(run.plan_mb for run in runs), 1),
        "here": {
            "cpu_seconds": round(processor, 1),
            "ms_per_task": round(1000 * processor / tasks, 3),
            "peak_ram_mb": peak_ram_mb(),
        },
    }
