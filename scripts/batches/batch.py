"""Run a batch: a job file becomes a plan, which is run here, and a page; and say how a batch stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from atlas.errors import BusyError, UserError
from atlas.storage.lease.lease import writing
from atlas.system.command import CommonOptions
from atlas.system.terminal import say
from scripts.batches.files import read_job_file
from scripts.batches.jobfile import Job, Reader, StageOptions
from scripts.batches.page import PAGE, write_page
from scripts.batches.table import Row, rows_of, summary, table
from scripts.batches.v2vbench import v2vbench_jobs
from scripts.plans.allotment import Allotment
from scripts.plans.bars import Bars
from scripts.plans.chain import Chains, EditEntry, whole_chain
from scripts.plans.engines.opened import EngineName, Wanted, opened
from scripts.plans.engines.protocol import Engine
from scripts.plans.engines.turns import Turns
from scripts.plans.places import Places
from scripts.plans.plan import PLAN, Plan, Task
from scripts.plans.run import run_plan
from scripts.plans.state import State
from scripts.plans.store.driver import Stored
from scripts.plans.store.engine import StoredEngine


@dataclass(kw_only=True)
class RunnerOptions(CommonOptions):
    """Options of what runs a plan."""

    engine: EngineName = "local"
    """Where stages run: `local`, in processes of this machine; `ray`, on the nodes of a Ray cluster; `slurm`, as jobs of Slurm
    (docs/batch.md)."""
    address: str | None = None
    """Of the Ray cluster: HOST:PORT of its head. Default: the one that this machine is a node of."""
    workers: int | None = None
    """How many stages work at once; each gets its share of the cores. Default: one for each core, as far as there is memory; on
    a cluster as many as it has room for, of Slurm 100 jobs."""
    cores: int | None = None
    """Cores that each stage is given. Default: its share where --workers is given; else 1."""
    memory: int | None = None
    """Main memory that each stage takes at its peak, in megabytes. Default: 2000."""
    gpus: float | None = None
    """On a cluster: GPUs that each stage is given that computes on one, or the part of one that it shares with others; 0: none.
    Default: 1 where a Ray cluster has GPUs, else 0."""
    store: str | None = None
    """For machines without a shared disk, the URL of a folder that all reach: s3://bucket/folder, sftp://host/folder, ...
    Around each stage its clip is brought from there and taken back (docs/batch.md)."""
    share: bool = True
    """On this machine: run stages one after the other in processes that stay, so that what they import, and a model, is loaded
    once; --no-share: each in a process of its own."""

    def wanted(self) -> Wanted:
        """What this asks of an engine; UserError for values that are none."""
        asked = {"shares_disk": self.store is None, "shares_processes": self.share}
        wanted = Wanted(self.engine, self.address, self.workers, self.cores, self.memory, self.gpus, **asked)
        wanted.check()
        return wanted


@dataclass(kw_only=True)
class BatchOptions(RunnerOptions):
    """Prepare, fit, edit, render and measure many clips and edits, as a job file says; run again, do only what is missing.

    `batch.py status DIR` prints how a batch stands.
    """

    jobs: tyro.conf.Positional[Path]
    """Job file: YAML, JSON or TOML with clips, edits and defaults; or V2VBench's, with data. docs/batch.md says what stands in
    it."""
    output: Path | None = None
    """Folder for clips, logs, figures and index.html. Default: beside the job file, called as it is without its ending."""
    videos: Path | None = None
    """Of a V2VBench file: folder of the videos, called by their id. Default: `videos` beside it."""
    defaults: Path | None = None
    """File of options that hold where the job file says nothing, for one that is to stay as it is."""
    reach: tuple[Path, ...] = ()
    """Further folders that paths in the job file may lead to; else its own alone."""


@dataclass(kw_only=True)
class StatusOptions(CommonOptions):
    """Say how a batch or a sweep stands: a row for each edit, and what failed."""

    folder: tyro.conf.Positional[Path]
    """Folder that it writes to."""
    json: bool = False
    """Print JSON instead of a table."""


def batch(options: BatchOptions) -> str:
    """Run a batch as far as it goes; returns its table and where the page is. UserError where something failed, at the end."""
    wanted = options.wanted()
    folder = output_folder(options)
    jobs = read_jobs(options, folder)
    with opened(wanted, folder) as (engine, allotment):
        plan, rows = planned(jobs, allotment)
        about = {"kind": "batch", "title": options.jobs.stem, "rows": rows}
        state = run_in(folder, plan, about, engine, quiet=options.quiet, store=options.store)
    return finished(folder, plan, about, state)


def output_folder(options: BatchOptions) -> Path:
    """Where a batch writes; UserError where that is a file, or a folder of something else."""
    folder = (options.output or options.jobs.with_suffix("")).absolute()
    check_output(folder)
    return folder


def check_output(folder: Path) -> None:
    """UserError where a plan cannot be kept in a folder: it is a file, or holds other things."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name another folder with --output")
    if folder.is_dir() and not (folder / PLAN).is_file() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"{folder} holds other things: name an empty or a new folder with --output")


def read_jobs(options: BatchOptions, folder: Path) -> list[Job]:
    """What the job file asks for; UserError names the file and the entry that is wrong."""
    base = options.jobs.absolute().parent
    reach = (base, *(path.absolute() for path in options.reach))
    reader = Reader(options.jobs, Places(base, reach), folder / "clips")
    data = read_job_file(options.jobs)
    usual: StageOptions = {}
    if options.defaults is not None:
        # The user's own file: it may lead anywhere.
        own = Reader(options.defaults, Places(options.defaults.absolute().parent), folder / "clips")
        usual = own.defaults(read_job_file(options.defaults), str(options.defaults))
    if "data" in data:
        defaults = reader.defaults(data.get("defaults") or {}, f"{options.jobs}, defaults", usual)
        return v2vbench_jobs(data, reader, (options.videos or base / "videos").absolute(), defaults)
    if options.videos is not None:
        raise UserError("--videos is for files of V2VBench, with data: a job file names its sources")
    return reader.jobs(data, usual)


def planned(jobs: Sequence[Job], allotment: Allotment) -> tuple[Plan, list[dict[str, Any]]]:
    """The plan of some jobs, and its rows: clip, edit, and the ids of their last tasks."""
    fixed = frozenset((job.clip.folder, job.fit) for job in jobs if job.is_fitted)
    chains, rows = Chains(Plan(), allotment, fixed), []
    for job in jobs:
        edited: dict[str, Task] = {}
        for edit in job.edits:
            entry = EditEntry(edit.name, edit.layers, edit.stages, job.fit)
            also = [edited[other] for other in _named_edits(entry) if other in edited]
            tasks = whole_chain(chains, job.clip, entry, job.fit_options, also)
            edited[edit.name] = [task for task in tasks if task.stage == "edit"][-1]
            rows.append({"clip": job.clip.name, "edit": edit.name, "tasks": [tasks[-1].id]})
        if not job.edits:
            fit = chains.fit(job.clip, job.fit, job.fit_options)
            measured = chains.measure_fit(job.clip, job.fit, fit, job.evaluate)
            rows.append({"clip": job.clip.name, "edit": "", "tasks": [measured.id]})
    return chains.plan, rows


def _named_edits(entry: EditEntry) -> list[str]:
    """Edits that an edit starts from or learns from."""
    texts = [options.get(name) for options in entry.layers for name in ("start_from", "tune")]
    return [text.partition(":")[2] for text in texts if isinstance(text, str) and text.startswith("edit:")]


def run_in(folder: Path, plan: Plan, about: dict[str, Any], engine: Engine, *, quiet: bool, store: str | None = None) -> State:
    """Write a plan into its folder and run it there; returns how it stands. BusyError where another run is at work there."""
    stored = Stored(store, plan) if store is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder, inside=True):
        is_new = plan.write(folder, about)
        state = State(folder) if stored is None else stored.begin(folder)
        missing = state.missing(plan)
        if not missing and not is_new and (folder / PAGE).is_file():
            return state
        try:
            with Bars(state, len(plan), len(plan) - len(missing), quiet=quiet) as bars:
                run_plan(plan, state, engine if stored is None else Turns(StoredEngine(engine, stored)), bars)
        finally:
            write_page(about["title"], rows_of(plan, about), state)
    return state


def finished(folder: Path, plan: Plan, about: dict[str, Any], state: State) -> str:
    """The table of a plan that was run, and where its page is; UserError, the table printed, where something failed."""
    rows = rows_of(plan, about)
    text = table(rows, state, is_running=False)
    left = sum(summary(row.tasks, state) != "done" for row in rows)
    if left:
        say(text)
        raise UserError(f"{left} of {len(rows)} rows are not done: mend what is named above, and run the same command again")
    return f"{text}\n\nwith pictures and films: {folder / PAGE}"


def status(options: StatusOptions) -> str | dict[str, Any]:
    """How the plan in a folder stands, as a table or as JSON."""
    plan, about = Plan.read(options.folder)
    state = State(options.folder)
    try:
        rows = rows_of(plan, about)
    except (KeyError, TypeError, RecursionError):
        raise UserError(f"{options.folder / PLAN} is damaged: run the batch or the sweep again") from None
    if options.json:
        return {"rows": [_as_json(row, state) for row in rows]}
    return table(rows, state, is_running=_is_running(options.folder))


def _as_json(row: Row, state: State) -> dict[str, Any]:
    tasks = [{"id": task.id, "stage": task.stage, "title": task.title} | asdict(state.of(task.id)) for task in row.tasks]
    return {"clip": row.clip, "edit": row.edit, "status": summary(row.tasks, state), "tasks": tasks}


def _is_running(folder: Path) -> bool:
    """Whether a run is at work in a folder."""
    try:
        with writing(folder, inside=True):
            return False
    except BusyError:
        return True
