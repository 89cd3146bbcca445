"""Fits side by side, and edits: each fit and each part is measured in a process of its own, one after another."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.storage.atomic import atomic_file
from atlas.storage.stamps import write_json
from atlas.system.decoration import decoration
from atlas.system.machine import describe_machine, load
from atlas.system.progress import Bar
from atlas.system.terminal import visible
from scripts.benchmarks.clips import derived_clip
from scripts.benchmarks.code_state import commit
from scripts.benchmarks.fits import START, keep_figures, known_figures, run_fit
from scripts.benchmarks.jobs import VERSION, BenchOptions, Job, edits_job, fits_jobs, parts_of
from scripts.benchmarks.methods.compared import show_methods
from scripts.benchmarks.parts import general, measure_clip, measure_general
from scripts.benchmarks.report import markdown


def bench(options: BenchOptions) -> str:
    """Measure what has not been measured yet, write the reports and return the one in Markdown.

    UserError for clips, presets or a truth that will not do, and where not a single fit came to its end.
    """
    parts = parts_of(options.parts)
    jobs = fits_jobs(options)
    halves = [part for part in parts if part != "fits"]
    edits = [edits_job(job, options) for job in jobs] if halves else []
    machine = describe_machine() | {"commit": commit()}
    at_start = load()
    results: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    count = sum(len(job.fits) for job in jobs) * ("fits" in parts)
    count += len(general(halves)) + sum(len(job.parts) for job in edits)
    with Bar(total=count, desc="bench", unit="run", quiet=options.quiet) as progress:
        for job in jobs if "fits" in parts else []:
            results.append(_fits(job, machine, options, progress))

        def now(name: str) -> None:
            progress.note(visible(name))
            progress.update()

        kept = options.output / "runs" / "edits"
        if halves:
            rows += measure_general(machine, kept, halves, quick=options.quick, announce=now)
        for edit in edits:
            rows += measure_clip(edit, machine, kept, options.output / "clips" / f"{edit.label}-edits", announce=now)
    runs = [run for result in results for run in result["runs"]] + rows
    if all("error" in run for run in runs):
        raise UserError(f"nothing came to its end: {runs[-1]['error']}")
    for edit in edits:
        show_methods(edit.methods, edit.frames, options.output / f"methods-{edit.label}.png")
    report = {"version": VERSION, "command": shlex.join(sys.argv), "machine": machine, "load": at_start}
    return write_report(report | {"clips": results, "edits": rows}, options.output)


def write_report(report: dict[str, Any], folder: Path) -> str:
    """Write bench.json, bench.md and, of fits, bench.png; returns what stands in bench.md."""
    try:
        text = markdown(report)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:  # of those that an earlier run kept
        raise UserError(
            f"{folder / 'runs'} holds figures that are damaged ({problem!r}): delete it to measure anew"
        ) from problem
    write_json(folder / "bench.json", report)
    with atomic_file(folder / "bench.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    if report["clips"]:
        with decoration(str(folder / "bench.png")):
            from scripts.benchmarks.plot import plot  # its library takes long to import

            plot(folder / "bench.png", report)
    return text


def _fits(job: Job, machine: dict[str, Any], options: BenchOptions, progress: Bar) -> dict[str, Any]:
    """A clip's fits, with what it is."""
    rows, clip = _measure(job, machine, options, progress), job.clip
    start = next((row for row in rows if row["preset"] == START), None)
    described = {"name": job.label, "frames": job.frames, "width": clip.width, "height": clip.height, "layers": clip.layers}
    return described | {"start": start, "runs": [row for row in rows if row is not start]}


def _measure(job: Job, machine: dict[str, Any], options: BenchOptions, progress: Bar) -> list[dict[str, Any]]:
    """The figures of a clip's fits: those that are there, and those that are made now."""
    place = options.output / "clips" / job.label
    rows, clip = [], None
    try:
        for wanted in job.fits:
            progress.note(visible(f"{job.label}, {wanted.name}"))
            path = options.output / "runs" / job.label / f"{wanted.name}.json"
            key = job.key(wanted, machine)
            row = None if options.keep else known_figures(path, key)
            if row is None:
                if clip is None:
                    shutil.rmtree(place, ignore_errors=True)  # of a killed run
                    clip = derived_clip(job.clip, place, job.frames, quiet=options.quiet)
                row = run_fit(clip, wanted, job.truth, keep=options.keep)
                if "error" not in row:
                    keep_figures(path, key, row)
            rows.append(row)
            progress.update()
    finally:
        if not options.keep:
            shutil.rmtree(place, ignore_errors=True)
            with contextlib.suppress(OSError):  # other clips are kept there
                place.parent.rmdir()
    return rows
