"""Open the engine that options name, and tell what each task is given there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from atlas.errors import UserError
from atlas.system.machine import usable_cores
from scripts.plans.allotment import Allotment
from scripts.plans.engines.local import LocalEngine, shares
from scripts.plans.engines.protocol import Engine
from scripts.plans.plan import Resources

EngineName = Literal["local", "ray", "slurm"]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of an engine; None: what it does by itself."""

    engine: EngineName = "local"
    address: str | None = None
    """Of a Ray cluster."""
    workers: int | None = None
    """Tasks at once."""
    cores: int | None = None
    """Of each task."""
    memory: int | None = None
    """Of each task, in megabytes."""
    gpus: float | None = None
    """Of each task that computes on one."""
    shares_disk: bool = True
    """Whether every node has to see the plan's folder."""
    shares_processes: bool = True
    """Whether tasks of this machine run one after the other in processes that stay."""

    def check(self) -> None:
        """UserError for values that are none."""
        for name, value in (("workers", self.workers), ("cores", self.cores), ("memory", self.memory)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: give 1 or more")
        if self.gpus is not None and not (0 <= self.gpus <= 1 or self.gpus in range(1000)):
            raise UserError(f"--gpus {self.gpus:g}: give 0, a part of 1, or a whole number")
        if self.address is not None and self.engine != "ray":
            raise UserError(f"--address is of a Ray cluster, and --engine {self.engine} has none: use --engine ray")
        if self.engine == "slurm" and not self.shares_disk:
            raise UserError("--engine slurm tells its jobs what to do by a disk that all nodes share: leave --store out")
        if self.gpus is not None and self.engine == "local":
            raise UserError("--gpus is for --engine ray and slurm: stages on this machine find its GPU by themselves")


@contextlib.contextmanager
def opened(wanted: Wanted, folder: Path) -> Iterator[tuple[Engine, Allotment]]:
    """Open an engine for the plan in `folder`, and tell what each task is given there; UserError where there is none."""
    wanted.check()
    if wanted.engine == "local":
        yield _local(wanted)
    elif wanted.engine == "slurm":
        yield _slurm(wanted, folder)
    else:
        from scripts.plans.engines.ray.cluster import connected, nodes_of
        from scripts.plans.engines.ray.engine import RayEngine

        with connected(wanted.address) as ray:
            nodes = nodes_of(ray)
            together = int(sum(node.cores for node in nodes))
            cores = wanted.cores or (max(together // wanted.workers, 1) if wanted.workers else 1)
            gpus = 1.0 if wanted.gpus is None else wanted.gpus
            has_gpu = gpus > 0 and any(node.gpus > 0 for node in nodes)
            seen = folder if wanted.shares_disk else None
            yield RayEngine(ray, wanted.workers, seen), _allotment(wanted, cores, gpus if has_gpu else 0.0)


def _local(wanted: Wanted) -> tuple[Engine, Allotment]:
    workers, cores = shares(wanted.workers)
    if wanted.cores is not None:
        cores = wanted.cores
        workers = wanted.workers or max(min(workers, usable_cores() // cores), 1)
    return LocalEngine(workers, share=wanted.shares_processes), Allotment(cores, wanted.memory or Resources().memory_mb)


def _slurm(wanted: Wanted, folder: Path) -> tuple[Engine, Allotment]:
    from scripts.plans.engines.slurm import SlurmEngine

    return SlurmEngine(folder, wanted.workers), _allotment(wanted, wanted.cores or 1, wanted.gpus or 0.0)


def _allotment(wanted: Wanted, cores: int, gpus: float) -> Allotment:
    return Allotment(cores, wanted.memory or Resources().memory_mb, "cuda" if gpus else "cpu", gpus)
