"""Run a sweep: axes become rows, rows become chains of stages of which shared ones run once, and what they gave tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from atlas.clip.clip import checked_name
from atlas.errors import UserError, a_few
from atlas.storage.stamps import digest
from scripts.batches.batch import RunnerOptions, check_output, finished, run_in
from scripts.batches.page import figures_of
from scripts.batches.table import rows_of, summary
from scripts.plans.allotment import Allotment
from scripts.plans.chain import FIT, Chains, ClipEntry, EditEntry, Options, completed
from scripts.plans.engines.opened import opened
from scripts.plans.options import EDIT_STAGES
from scripts.plans.places import Places
from scripts.plans.plan import Plan, Task
from scripts.plans.state import State
from scripts.sweeps.axes import axis_fields, given_axes
from scripts.sweeps.figures import figures_of_report
from scripts.sweeps.grid import Axis, Combination, Value, combinations
from scripts.sweeps.studies import STUDIES, Study
from scripts.sweeps.tables import write_tables

_STUDY_HELP = f"What is usually compared: {'; '.join(f'{name} ({study.meaning})' for name, study in STUDIES.items())}."
_EDITED = ("edit", "aggregate", "render")


@dataclass(kw_only=True)
class SweepOptions(axis_fields(), RunnerOptions):  # type: ignore[misc]  # a field for each option of each stage
    """Vary options of any stages, and measure: every combination is a row of sweep.csv. Fits and edits are made in the clips'
    folders. Run again, it does only what is missing.

    Each option takes several values, separated by blanks: --strategy random propagate --seeds 0 1 2. What is joined by `+` is
    one value of several words: --control canny canny+depth.
    """

    clips: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of prepared clips, or videos and folders of frames to prepare."""
    output: Path
    """Folder for sweep.csv, sweep.json, sweep.md, sweep.png, index.html, logs, and clips that are prepared."""
    study: Annotated[str | None, tyro.conf.arg(help=_STUDY_HELP)] = None
    only: tuple[str, ...] = ()
    """Leave out other rows than those of AXIS=VALUE[,VALUE...]; of several all must hold."""
    limit: int | None = None
    """Make at most so many rows."""
    fitted: str | None = None
    """Name of a fit that is there, and is used as it is."""
    figures_only: bool = False
    """Do not render films and sheets."""


@dataclass
class _Rows:
    """Adds rows to a plan."""

    chains: Chains
    fitted: str | None
    usual: Options
    with_edits: bool
    renders: bool
    edited: dict[str, tuple[str, list[Task]]] = field(default_factory=dict)
    """Name and last tasks of the first row with the same edit, by what it is made from."""
    merged: dict[str, tuple[str, list[Task]]] = field(default_factory=dict)
    """The same of rows with the same edit, merged alike."""

    def add(self, clip: ClipEntry, row: Combination) -> Task:
        """Add all that a row takes; returns the task whose result it is."""
        fit_name, fit = self._fit(clip, row)
        if not self.with_edits:
            return self.chains.measure_fit(clip, fit_name, fit, row.options("evaluate"))
        options = completed(row.options("edit"), self.usual, "the sweep")
        after = {stage: row.options(stage) for stage in EDIT_STAGES[1:]}
        of_edit = digest(str(clip.folder), fit_name, options)
        of_merged = digest(of_edit, after["aggregate"])
        of_all = digest(of_merged, after["render"], after["evaluate"])
        entry = EditEntry(f"sweep-{of_all[:8]}", (options,), after, fit_name)
        merged = self._merged(clip, entry, fit, of_edit, of_merged)
        rendered = self.chains.render(clip, entry, merged) if self.renders else merged
        return self.chains.evaluate(clip, entry, rendered)

    def _merged(self, clip: ClipEntry, entry: EditEntry, fit: Sequence[Task], of_edit: str, of_merged: str) -> list[Task]:
        """The tasks up to the merged edit: those of an earlier row as far as they are the same."""
        chains = self.chains
        if of_merged in self.merged:
            name, tasks = self.merged[of_merged]
            return tasks if name == entry.name else chains.share(clip, name, entry.name, tasks)
        if of_edit in self.edited:
            name, tasks = self.edited[of_edit]
            edited = chains.share(clip, name, entry.name, tasks)
        else:
            edited = chains.edit(clip, entry, fit)
            self.edited[of_edit] = entry.name, edited
        merged = chains.aggregate(clip, entry, edited)
        self.merged[of_merged] = entry.name, merged
        return merged

    def _fit(self, clip: ClipEntry, row: Combination) -> tuple[str, list[Task]]:
        """The name of a row's fit, which tells how it was made, and its tasks."""
        options, variant = row.options("fit"), row.options("variant")
        if self.fitted is not None:
            return self.fitted, self.chains.fit(clip, self.fitted)
        name = f"sweep-{digest(options, variant)[:8]}" if options or variant else FIT
        if not variant:
            return name, self.chains.fit(clip, name, options)
        words = [word for key in ("rounds", "steps") if key in variant for word in (f"--{key}", str(variant[key]))]
        words += ["--without", *variant["without"]] if "without" in variant else []
        return name, self.chains.fit_variant(clip, name, options, words)


def sweep(options: SweepOptions) -> str:
    """Run a sweep as far as it goes; returns its table and where the rest is. UserError where something failed, at the end."""
    wanted = options.wanted()
    folder = options.output.absolute()
    check_output(folder)
    study = _study(options.study)
    axes = _axes(options, study)
    rows = combinations(axes, options.only, options.limit)
    with opened(wanted, folder) as (engine, allotment):
        plan, about = planned(options, study, rows, folder, allotment)
        state = run_in(folder, plan, about, engine, quiet=options.quiet, store=options.store)
    results = _results(plan, about, state, rows)
    from scripts.sweeps.plot import plot  # takes torch, which --help and a sweep under way do not need

    write_tables(folder, [axis.name for axis in axes], results)
    plot(folder / "sweep.png", varied_axes(rows), results, study.figures if study else None)
    finished(folder, plan, about, state)
    table = (folder / "sweep.md").read_text(encoding="utf-8")
    return f"{table}\nas a picture: {folder / 'sweep.png'}\nwith every edit: {folder / 'index.html'}"


def varied_axes(rows: Sequence[Combination]) -> list[str]:
    """The axes of which the rows have several values, in order."""
    return [name for name in rows[0].labels if len({row.labels[name] for row in rows}) > 1]


def planned(
    options: SweepOptions, study: Study | None, rows: Sequence[Combination], folder: Path, allotment: Allotment
) -> tuple[Plan, dict[str, Any]]:
    """The plan of a sweep, and what stands about it in plan.json."""
    entries = [_clip(options, row, folder) for row in rows]
    fixed = frozenset((clip.folder, options.fitted) for clip in entries if options.fitted is not None)
    usual = dict(study.usual) if study else {}
    with_edits = study.with_edits if study else any(row.options(stage).keys() - {"device"} for row in rows for stage in _EDITED)
    adding = _Rows(Chains(Plan(), allotment, fixed), options.fitted, usual, with_edits, not options.figures_only)
    saved, varied = [], varied_axes(rows)
    for row, clip in zip(rows, entries, strict=True):
        last = adding.add(clip, row)
        label = ", ".join(f"{name} {value}" for name, value in row.labels.items() if name in varied and name != "clip")
        saved.append({"clip": clip.name, "edit": label, "tasks": [last.id]})
    return adding.chains.plan, {"kind": "sweep", "title": options.study or folder.name, "rows": saved}


def _study(name: str | None) -> Study | None:
    if name is not None and name not in STUDIES:
        raise UserError(f"--study {name} is not known: choose from {', '.join(STUDIES)}")
    return None if name is None else STUDIES[name]


def _axes(options: SweepOptions, study: Study | None) -> list[Axis]:
    """The clips, the axes of the command line, and the study's, unless one of the same name takes its place."""
    given = {axis.name: axis for axis in given_axes(options, Places(Path.cwd()))}
    names = [_clip_name(path) for path in options.clips]
    if not names:
        raise UserError("there is no clip: name the folder of a prepared clip, a video, or a folder of frames")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two clips are called {twice[0]!r}: sweep them one by one, with an --output of their own")
    of_study = [axis for axis in ([study.axis()] if study else []) if axis.name not in given]
    made = [axis.name for axis in given.values() if axis.stages == {"fit"}]
    if options.fitted is not None and made:
        raise UserError(f"--fitted uses a fit as it is, and {a_few(made)} is for making one: leave one of them out")
    return [Axis("clip", tuple(map(Value, names))), *given.values(), *of_study]


def _clip_name(path: Path) -> str:
    """The folder's name; of a folder `frames` that of the one it lies in."""
    name = path.absolute().name if path.is_dir() else path.stem
    return checked_name(path.absolute().parent.name if name == "frames" else name, "clip")


def _clip(options: SweepOptions, row: Combination, folder: Path) -> ClipEntry:
    """The clip of a row: as it is where it is prepared, else to be prepared as the row says."""
    name, prepare = row.labels["clip"], row.options("prepare")
    path = next(path for path in options.clips if _clip_name(path) == name).absolute()
    if (path / "clip.json").is_file():
        if alone := [name for name, value in row.values.items() if value.options.keys() == {"prepare"}]:
            raise UserError(f"{path} is prepared already, and {a_few(alone)} is for preparing: leave one of them out")
        return ClipEntry(name, path, None)
    if not path.exists():
        raise UserError(f"{path} is missing: name a prepared clip, a video, or a folder of frames")
    own = f"{name}-{digest(prepare)[:6]}" if prepare else name
    return ClipEntry(name, folder / "clips" / own, path, prepare)


def _results(plan: Plan, about: dict[str, Any], state: State, rows: Sequence[Combination]) -> list[dict[str, Any]]:
    """What each row gave: its axes, status, line of what failed, figures, and what all its stages cost."""
    results = []
    for row, entry in zip(rows, rows_of(plan, about), strict=True):
        records = [state.of(task.id) for task in entry.tasks]
        figures = figures_of_report(figures_of(entry.of("evaluate"), state))
        peaks = [record.peak_mb for record in records if record.peak_mb is not None]
        cost = {"cpu_seconds": round(sum(r.cpu_seconds or 0.0 for r in records), 2), "peak_mb": max(peaks, default=None)}
        line = next((record.line for record in records if record.state == "failed"), "")
        made = next((task.title.split()[-1] for task in reversed(entry.tasks) if task.stage == "evaluate"), "")
        about_row = {"axes": row.labels, "made": made, "status": summary(entry.tasks, state), "line": line}
        results.append(about_row | {"figures": figures | cost})
    return results
