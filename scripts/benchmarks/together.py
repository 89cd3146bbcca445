"""Pairs of commands at once on one clip, and commands that are killed: nothing may be lost, half-written or claimed falsely.

Commands are started as users start them. Of a pair, the clip must end as if one had run after the other; where one of them
ended with status 3 it is run again first. What was killed is run again, and must end as if nothing had happened.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from aggregate.stage import AggregateOptions, aggregate
from atlas.errors import UserError
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.sample.files import write_sample, write_truth_fit
from atlas.sample.scene import make_sample
from atlas.storage.stamps import contents
from atlas.system.command import BUSY, CommonOptions
from atlas.system.cost import COST
from atlas.system.terminal import say
from edit.editors import EditOptions
from edit.stage import edit
from scripts.jobs.process import ROOT

FRAMES, HEIGHT, WIDTH = 6, 64, 96
_PATIENCE = 300.0  # seconds that a command may take
_FILTER = ("--editor", "filter", "--filter")
COMMANDS: dict[str, tuple[str, ...]] = {
    "prepare": ("prepare", "{source}", "{clip}", "--masks", "{masks}", "--max-side", "80"),
    "fit": ("fit", "{clip}", "--preset", "preview", "--iterations", "4"),
    "fit another": ("fit", "{clip}", "--name", "other", "--preset", "preview", "--iterations", "4"),
    "edit": ("edit", "{clip}", "--name", "red", "--layer", "foreground", *_FILTER, "invert", "--keyframes", "1,4"),
    "edit another layer": ("edit", "{clip}", "--name", "red", "--layer", "background", *_FILTER, "invert", "--keyframes", "2"),
    "edit another": ("edit", "{clip}", "--name", "blue", "--layer", "foreground", *_FILTER, "invert", "--keyframes", "3"),
    "edit frames": ("edit", "{clip}", "--name", "all", "--layer", "foreground", *_FILTER, "posterise", "--on", "frames"),
    "aggregate": ("aggregate", "{clip}", "--edit", "red", "--method", "mean", "--no-match-gain"),
    "render": ("render", "{clip}", "--edit", "red", "--crf", "30"),
    "render images": ("render", "{clip}", "--edit", "red", "--format", "png"),
    "render otherwise": ("render", "{clip}", "--edit", "red", "--format", "png", "--transfer", "additive"),
    "evaluate": ("evaluate", "{clip}", "--edit", "red", "--json"),
    "deflicker": ("deflicker", "{clip}", "--edit", "frames", "--with", "atlas"),
}
"""Commands that have something to do on the sample clip as `_made` leaves it."""


@dataclass(kw_only=True)
class TogetherOptions(CommonOptions):
    """Start commands in pairs on one clip and kill commands, and hold what is left against undisturbed runs."""

    pairs: int = 20
    """Pairs of commands that are started at once."""
    kills: int = 30
    """Commands that are killed, the one after the other, each at a random moment."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Commands to choose from, by their names here. Default: all."""
    seed: int = 0
    """What is chosen, and when it is killed."""


@dataclass
class Report:
    """What was tried, and what went wrong."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*self.lines, f"{len(self.lines)} tries, {len(self.problems)} went wrong", *self.problems])


def together(options: TogetherOptions) -> Report:
    """Run pairs and kills on copies of a small sample clip; UserError for a command that is unknown."""
    if unknown := set(options.only) - COMMANDS.keys():
        raise UserError(f"--only {sorted(unknown)[0]} is none of the commands: choose among {', '.join(COMMANDS)}")
    names, chance, report = list(options.only or COMMANDS), random.Random(options.seed), Report()
    with tempfile.TemporaryDirectory() as folder:
        place = _made(Path(folder))
        for _ in range(options.pairs):
            first, second = chance.choice(names), chance.choice(names)
            _note(report, f"{first} + {second}", _pair(place, first, second), options.quiet)
        for number in range(options.kills):
            name = names[(number + options.kills * options.seed) % len(names)]
            _note(report, f"{name}, killed", _killed(place, name, chance), options.quiet)
    return report


def printed(options: TogetherOptions) -> str:
    """Run all, and say what was found; UserError where something went wrong."""
    report = together(options)
    if report.problems:
        say(str(report))
        raise UserError(f"{len(report.problems)} of {len(report.lines)} went wrong")
    return str(report)


def _note(report: Report, what: str, outcome: tuple[str, list[str]], quiet: bool) -> None:
    how, problems = outcome
    report.lines.append(f"{what}: {how}")
    report.problems += [f"{what}: {problem}" for problem in problems]
    if not quiet:
        say("; ".join([report.lines[-1], *problems]), sys.stderr)


@dataclass
class _Place:
    """The clip that every try begins with a copy of, and what undisturbed commands make of it."""

    folder: Path
    results: dict[tuple[str, ...], tuple[list[int], dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def clip(self) -> Path:
        """Where each try finds its clip: under one name, as a clip knows its own."""
        return self.folder / "clip"

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """The clip as it was in the beginning."""
        shutil.rmtree(self.clip, ignore_errors=True)
        shutil.copytree(self.folder / "kept", self.clip)
        yield

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a command."""
        script, *arguments = COMMANDS[name]
        named = {"source": self.folder / "sample" / "frames", "masks": self.folder / "sample" / "masks", "clip": self.clip}
        command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *(a.format(**named) for a in arguments), "--quiet"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace")

    def undisturbed(self, *names: str) -> tuple[list[int], dict[str, Any]]:
        """Statuses of commands, one after the other, and what the clip then holds."""
        if names not in self.results:
            with self.fresh():
                statuses = []
                for name in names:
                    began = time.perf_counter()
                    statuses.append(_ended(self.start(name))[0])
                    self.seconds.setdefault(name, time.perf_counter() - began)
                self.results[names] = statuses, held(self.clip)
        return self.results[names]


def _made(folder: Path) -> _Place:
    """Write a sample and a clip of it with a fit and edits: what the commands change."""
    sample = make_sample(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=1, seed=0)
    write_sample(sample, folder / "sample")
    where = folder / "clip"
    quiet: dict[str, Any] = {"quiet": True}
    clip = prepare(
        PrepareOptions(source=folder / "sample" / "frames", clip=where, masks=str(folder / "sample" / "masks"), **quiet)
    )
    write_truth_fit(sample, clip, "default")
    for name, on in (("red", "keyframes"), ("frames", "frames")):
        chosen: dict[str, Any] = {"editor": "filter", "filter": "recolour", "on": on}
        chosen |= {"keyframes": "0,3"} if on == "keyframes" else {}
        edit(EditOptions(clip=where, name=name, layer="foreground", **chosen, **quiet))
    aggregate(AggregateOptions(clip=where, edit="red", method="mean", device="cpu", **quiet))
    where.replace(folder / "kept")
    return _Place(folder)


def _pair(place: _Place, first: str, second: str) -> tuple[str, list[str]]:
    """Start two commands at once; how that went, and what is wrong with what is left."""
    with place.fresh():
        processes = [(name, place.start(name)) for name in (first, second)]
        ended = [(name, *_ended(process)) for name, process in processes]
        problems = [f"{name} ended in a traceback: {text[-300:]}" for name, _, text in ended if "Traceback" in text]
        problems += _left_over(place.clip)
        statuses = [status for _, status, _ in ended]
        waited = [name for name, status, _ in ended if status == BUSY]
        again = {name: _ended(place.start(name))[0] for name in waited}
        results = [again.get(name, status) for name, status, _ in ended]
        left = held(place.clip)
    differences = []
    for names, ends in (((first, second), results), ((second, first), results[::-1])):
        expected, right = place.undisturbed(*names)
        different = differing(left, right) if ends == expected else [f"statuses {ends} instead of {expected}"]
        if not different:
            break
        differences.append(", ".join(different[:4]))
    else:
        problems.append(f"ended as neither order does: {' | '.join(differences)}")
    return f"status {statuses[0]} and {statuses[1]}", problems


def _killed(place: _Place, name: str, chance: random.Random) -> tuple[str, list[str]]:
    """Kill a command at some moment and run it again; how that went, and what is wrong with what is left."""
    expected, right = place.undisturbed(name)
    moment = place.seconds[name] * chance.uniform(0.3, 1.0)
    with place.fresh():
        process = place.start(name)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        status, text = _ended(place.start(name))
        problems = [f"run again: {text[-300:]}"] if [status] != expected else []
        problems += [f"claims that somebody was at work: {text[-300:]}"] if "by hand" in text or "replaced:" in text else []
        problems += _left_over(place.clip)
        different = differing(held(place.clip), right)
    problems += [f"other than undisturbed: {', '.join(different[:4])}"] if different else []
    return f"after {moment:.1f} s, then status {status}", problems


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Status of a command, and all that it said; one that hangs is killed."""
    try:
        output, errors = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += "Traceback: it hung"
    return process.returncode, output + errors


def _left_over(clip: Path) -> list[str]:
    """Leases and half-made things that lie about after the last command has ended."""
    hidden = [*clip.rglob(".*"), *clip.parent.glob(".*")]
    names = [path.relative_to(clip.parent).as_posix() for path in hidden if path.name != ".rendered"]
    return [f"left over: {', '.join(sorted(names)[:4])}"] if names else []


def held(clip: Path) -> dict[str, Any]:
    """What a clip's folder holds: of files a digest, of JSON what it says, as keys may stand in any order; of costs whose."""
    files: dict[str, Any] = dict(contents(clip))
    for path in clip.rglob("*.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        files[path.relative_to(clip).as_posix()] = sorted(value) if path.name == COST else value
    return files


def differing(files: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Names of what is missing, too much, or other than is right."""
    return sorted(name for name in files.keys() | right.keys() if files.get(name) != right.get(name))
