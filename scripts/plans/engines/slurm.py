"""Run tasks as jobs of Slurm, by submitit: what is ready at the same moment becomes an array. The disk must be shared.

It was tried with submitit's own executors for one machine, and never on a real Slurm.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import shutil
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.system.terminal import in_one_line
from scripts.jobs.process import ROOT
from scripts.plans.engines import submitted
from scripts.plans.engines.protocol import LOST, Ended, Outputs
from scripts.plans.engines.remote import Work
from scripts.plans.plan import Resources, Task, full_command

WORKERS = 100
"""Tasks that are jobs at once, unless another number is asked for."""
FOLDER = "slurm"
_TICK = 0.5  # seconds between two looks at what runs
_MINUTES = 24 * 60  # that a job may take; SBATCH_TIMELIMIT, which sbatch obeys first, changes it
_LARGEST = 1000  # jobs of an array: Slurm takes no more, where nobody changed that
_PATIENCE = 60.0  # seconds that cancelled jobs have to end: Slurm kills after 30


class SlurmEngine:
    """Submits tasks, at most so many at once, and waits for what they leave on the disk.

    folder: the plan's. cluster: `slurm`; `local` and `debug` are submitit's ways to run jobs on this machine, for tests.
    """

    def __init__(self, folder: Path, workers: int | None = None, cluster: str = "slurm") -> None:
        if importlib.util.find_spec("submitit") is None:
            raise UserError("--engine slurm needs submitit: pip install -e .[cluster]")
        if cluster == "slurm" and (missing := [name for name in ("sbatch", "srun", "sacct") if not shutil.which(name)]):
            raise UserError(f"--engine slurm needs {missing[0]}, which is not here: run this on a login node of the cluster")
        import cloudpickle  # comes with submitit, which uses it

        cloudpickle.register_pickle_by_value(submitted)
        self._folder, self._workers, self._cluster = folder, workers or WORKERS, cluster
        self._new: list[tuple[Task, Outputs]] = []
        self._jobs: dict[str, tuple[Any, Outputs, float]] = {}

    def now(self) -> float:
        """Seconds of this machine's clock."""
        return time.monotonic()

    def has_room(self, task: Task) -> bool:
        """Whether another job may be submitted; when it runs is Slurm's business."""
        return len(self._jobs) + len(self._new) < self._workers

    def start(self, task: Task, outputs: Outputs) -> None:
        """Take a task, to be submitted with others that are ready."""
        outputs.log.parent.mkdir(parents=True, exist_ok=True)
        self._new.append((task, outputs))

    def wait(self, seconds: float) -> list[Ended]:
        """Submit what is new, and wait until a job ends, at most so many seconds."""
        ended = self._submit()
        ended += [self._ended(name) for name, (job, *_) in list(self._jobs.items()) if job.done()]
        if not ended:
            time.sleep(min(max(seconds, 0), _TICK))
        return ended

    def stop(self) -> None:
        """Cancel all jobs, and wait for their end."""
        self._new.clear()
        for job, *_ in self._jobs.values():
            with contextlib.suppress(Exception):  # it has ended
                job.cancel(check=False)
        until = self.now() + _PATIENCE
        while self._jobs and self.now() < until:
            self.wait(_TICK)

    def _submit(self) -> list[Ended]:
        """Submit what is new: one array for all tasks that take the same. Returns those that Slurm did not take."""
        alike: dict[Resources, list[tuple[Task, Outputs]]] = defaultdict(list)
        for task, outputs in self._new:
            alike[task.resources].append((task, outputs))
        self._new, refused = [], []
        for resources, several in alike.items():
            for first in range(0, len(several), _LARGEST):
                array = several[first : first + _LARGEST]
                try:
                    self._submit_array(resources, array)
                except Exception as problem:  # of submitit: what sbatch says, which may be busy, or know no such partition
                    refused += [_lost(task.id, outputs, f"Slurm took no job: {problem}") for task, outputs in array]
        return refused

    def _submit_array(self, resources: Resources, several: list[tuple[Task, Outputs]]) -> None:
        import submitit

        executor = submitit.AutoExecutor(self._folder / FOLDER, cluster=self._cluster)
        executor.update_parameters(**_parameters(resources))
        with executor.batch():
            jobs = [executor.submit(submitted.perform_for, *_sent(*one, self._folder)) for one in several]
        for (task, outputs), job in zip(several, jobs, strict=True):
            self._jobs[task.id] = job, outputs, self.now()

    def _ended(self, name: str) -> Ended:
        job, outputs, began = self._jobs.pop(name)
        try:
            return Ended(*job.result())
        except Exception as problem:  # of submitit, or of what runs the task: nobody saw its end
            return _lost(name, outputs, f"its job ended: {problem}", round(self.now() - began, 3))


def _lost(name: str, outputs: Outputs, why: str, seconds: float = 0.0) -> Ended:
    with outputs.log.open("a") as log:
        log.write(f"\n{in_one_line(why)[:300]}\n")
    return Ended(name, LOST, seconds)


def _parameters(resources: Resources) -> dict[str, Any]:
    """What submitit is told of a job. A GPU cannot be shared by halves: a task gets a whole one."""
    gpus = {"gpus_per_node": math.ceil(resources.gpus)} if resources.gpus else {}
    memory, cores = resources.memory_mb / 1024, resources.cores
    return {"name": "stage", "mem_gb": memory, "cpus_per_task": cores, "timeout_min": _MINUTES, "nodes": 1} | gpus


def _sent(task: Task, outputs: Outputs, folder: Path) -> tuple[Any, ...]:
    """Plain values: what a job is told."""
    work = Work(task.id, tuple(full_command(task)), task.resources.cores, str(folder))
    return str(ROOT), asdict(work), [None if path is None else str(path) for path in asdict(outputs).values()]
