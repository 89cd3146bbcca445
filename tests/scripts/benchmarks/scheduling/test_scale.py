"""Simulated clusters: known answers, what limits them, failures, and the same seed."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from random import Random
from typing import Any

import pytest

from atlas.errors import UserError
from scripts.benchmarks.scheduling.cluster import Cluster
from scripts.benchmarks.scheduling.scale import MEASURED, BenchScaleOptions, bench_scale
from scripts.benchmarks.scheduling.site import Site, StageCost
from scripts.benchmarks.scheduling.stages import _measured
from scripts.plans.options import STAGES
from scripts.plans.plan import Plan, Resources, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State
from scripts.plans.store.driver import Stored

CALM: dict[str, Any] = {"spread": 0.0, "length": 0.0, "slow": 0.0, "failures": 0.0, "crashes": 0.0, "scheduler_ms": 0.0}
CALM |= {"quiet": True, "shared_mb": 1e12, "node_mb": 1e12}
WORK = sum(MEASURED[stage].cpu_seconds for stage in STAGES)
UP = sum(MEASURED[stage].bytes_up for stage in STAGES) / 1e9


def scale(**changes: Any) -> dict[str, Any]:
    return bench_scale(BenchScaleOptions(**(CALM | {"clips": 4, "edits": 1, "nodes": 1, "cores": 1} | changes)))


def test_one_core_takes_the_sum_of_all() -> None:
    report = scale()
    assert report["hours"] == pytest.approx(4 * WORK / 3600, abs=1e-3) and report["busy"]["cores"] == pytest.approx(1, abs=1e-3)
    assert report["core_hours"] == pytest.approx(4 * WORK / 3600, abs=0.06)
    assert report["gigabytes"]["written"] == pytest.approx(4 * UP, abs=0.01)
    assert (report["tasks"], report["left"], report["ends"]) == (24, 0, {"done": 24})
    many = scale(nodes=4)
    assert many["hours"] == pytest.approx(WORK / 3600, abs=1e-3)  # a clip's stages follow each other


def test_what_gives_way_shows() -> None:
    disk = scale(nodes=100, clips=100, shared_mb=20.0)
    assert disk["busy"]["disk"] > 0.95 and disk["busy"]["cores"] < 0.5
    assert disk["hours"] == pytest.approx(
        (disk["gigabytes"]["read"] + disk["gigabytes"]["written"]) * 1e3 / 20 / 3600, rel=0.05
    )
    scheduler = scale(nodes=100, clips=100, scheduler_ms=5000.0)
    assert scheduler["busy"]["scheduler"] > 0.8 and scheduler["waiting_hours"]["for the scheduler"] > 1
    gpus = scale(nodes=10, cores=8, clips=40, gpu_nodes=1, gpus=2, gpu_seconds=600.0)
    assert gpus["gpu_hours"] == pytest.approx(40 * 600 / 3600, abs=0.1)
    assert gpus["hours"] >= 40 * 600 / 2 / 3600


def test_a_store_moves_what_a_node_lacks() -> None:
    calm = {"nodes": 50, "clips": 60, "edits": 2, "is_store": True, "cores": 4}
    home, away = scale(**calm), scale(**calm, affinity=False)
    assert home["at_home"] > 0.5 > away["at_home"]
    assert away["gigabytes"]["read"] > 2 * home["gigabytes"]["read"] > 0
    assert away["requests"]["get"] > home["requests"]["get"]
    slow = scale(**calm, request_ms=100.0)
    assert slow["waiting_hours"]["for the disk and requests"] > home["waiting_hours"]["for the disk and requests"]


@pytest.mark.parametrize("is_store", [False, True])
def test_failures_are_survived(is_store: bool) -> None:
    rough = {"nodes": 20, "clips": 100, "spread": 0.3, "length": 0.5, "slow": 0.1, "failures": 0.3, "crashes": 0.02}
    report = scale(**rough, is_store=is_store)
    ends = report["ends"]
    assert (
        report["left"] == 0
        and ends["done"] == 600
        and ends["lost"] > 0
        and ends["crashed"] > 0
        and report["lost_core_hours"] > 0
    )
    assert ("busy" in ends) == is_store  # a claim outlives its node
    same, other = scale(**rough, is_store=is_store), scale(**rough, is_store=is_store, seed=1)
    assert {**report, "here": 0} == {**same, "here": 0} != {**other, "here": 0}


def test_several_plans_do_the_same_work() -> None:
    one, three = scale(nodes=7, clips=20), scale(nodes=7, clips=20, shards=3)
    assert (three["plans"], three["left"], three["tasks"]) == (3, 0, one["tasks"])
    assert three["core_hours"] == one["core_hours"] and three["gigabytes"] == one["gigabytes"]


def test_a_node_never_holds_more_than_it_has(tmp_path: Path) -> None:
    plan, random = Plan(), Random(3)
    for number in range(300):
        asked = Resources(cores=random.choice((1, 2, 4)), gpus=random.choice((0, 0, 0.5, 1)), memory_mb=random.choice((1, 5)))
        plan.add(Task.of("fit", [str(number)], tmp_path / str(number % 50), "fit", resources=asked))
    site = Site(nodes=5, cores=8, memory_mb=9, gpu_nodes=2, gpus=2, failures=2.0, shared_mb=10.0)
    cluster = Cluster(site, lambda task: StageCost(100, 1, 1e6, 1e6, 1, 1, 1, 1), lambda clip: 1.0, random)
    least = [0.0]
    take = cluster._nodes.take

    def watched(needed: Resources, home: int | None) -> int:
        node = take(needed, home)
        least[0] = min(least[0], *cluster._nodes._free[node])
        return node

    cluster._nodes.take = watched  # type: ignore[method-assign]
    state = State(tmp_path)
    run_plan(plan, state, cluster)
    assert least[0] >= 0 and {record.state for record in state.records.values()} == {"done"}
    assert cluster._nodes._free == [[8.0, 2.0 if node < 2 else 0.0, 9.0] for node in range(5)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"clips": 0}, "--clips 0: give 1"),
        ({"shards": 2}, "as many clips and nodes"),
        ({"slow": 2.0}, "from 0 to 1"),
        ({"gpu_seconds": 3.0}, "needs --gpu-nodes"),
        ({"gpu_seconds": 3.0, "gpu_nodes": 1, "gpus": 0}, "and --gpus of each"),
        ({"memory_mb": 1000}, "--memory-mb 1000: a stage takes 1233"),  # no task would ever have room
        ({"stages": Path("/nowhere.json")}, "is missing"),
    ],
)
def test_wrong_options(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        scale(**changes)


def test_figures_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "stages.json"
    path.write_text(json.dumps({"stages": {stage: asdict(MEASURED[stage]) for stage in STAGES}}))
    assert scale(stages=path)["hours"] == scale()["hours"]
    path.write_text(json.dumps({"stages": {"fit": {}}}))
    with pytest.raises(UserError, match="holds no figures"):
        scale(stages=path)


@pytest.mark.slow
def test_a_stage_is_measured(tmp_path: Path) -> None:
    code = "import pathlib, sys; clip = pathlib.Path(sys.argv[1]); clip.mkdir(exist_ok=True); "
    code += "(clip / sys.argv[2]).write_text('x' * 10**6)"
    plan, clip = Plan(), tmp_path / "clip"
    tasks = [plan.add(Task.of(name, ["-c", code, str(clip), name], clip, name)) for name in ("prepare", "fit")]
    (tmp_path / "store").mkdir()
    stored = Stored(f"file://{tmp_path / 'store'}", plan)
    stored.give()
    first, second = (_measured(task, stored, tmp_path) for task in tasks)
    assert 1e6 < first["bytes_up"] < 1.01e6 and second["bytes_up"] < 1e4  # the same bytes are there already
    assert first["bring_bytes"] < 1e4 and 1e6 < second["bring_bytes"] < 1.01e6
    assert first["read_bytes"] == 0 == second["read_bytes"]
    assert first["cpu_seconds"] > 0 and first.keys() <= {one.name for one in fields(StageCost)}
