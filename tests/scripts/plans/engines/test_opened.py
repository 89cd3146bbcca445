"""What is asked of an engine, and what each task is given there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.errors import UserError
from atlas.system.machine import usable_cores
from scripts.plans.allotment import Allotment
from scripts.plans.engines.opened import Wanted, opened


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"workers": 0}, "--workers 0: give 1 or more"),
        ({"cores": 0}, "--cores 0: give 1 or more"),
        ({"memory": -1}, "--memory -1: give 1 or more"),
        ({"engine": "ray", "gpus": 1.5}, "--gpus 1.5: give 0, a part of 1, or a whole number"),
        ({"engine": "ray", "gpus": -1.0}, "--gpus -1: give 0"),
        ({"engine": "ray", "gpus": float("nan")}, "--gpus nan: give 0"),
        ({"engine": "ray", "gpus": float("inf")}, "--gpus inf: give 0"),
        ({"engine": "slurm", "address": "head:6379"}, "--address is of a Ray cluster, and --engine slurm has none"),
        ({"gpus": 1.0}, "--gpus is for --engine ray and slurm"),
    ],
)
def test_what_cannot_be_wanted(values: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        Wanted(**values).check()


def test_shares_of_this_machine(tmp_path: Path) -> None:
    cores = usable_cores()
    for wanted, allotment in (
        (Wanted(workers=1), Allotment(cores)),
        (Wanted(workers=1, cores=3, memory=500), Allotment(3, 500)),
        (Wanted(cores=cores), Allotment(cores)),
    ):
        with opened(wanted, tmp_path) as (_, given):
            assert given == allotment
