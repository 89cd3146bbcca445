"""Chains of stages from a source to a measured edit, added to a plan; what chains share is in it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.rendering.output import IMAGES, usual_name
from atlas.video.writing import FORMATS
from edit.editors import EDITORS, EditOptions
from edit.editors.protocol import Editor
from scripts.plans.allotment import Allotment
from scripts.plans.options import arguments_of, options_of
from scripts.plans.plan import Plan, Task, stage_command

Options = dict[str, Any]
"""Values by the names of a stage's fields."""
LAYER, FIT = "foreground", "default"
"""What is edited and what it stands on where nothing else is asked for."""


@dataclass(frozen=True)
class ClipEntry:
    """A clip of a plan."""

    name: str
    folder: Path
    source: Path | None
    """Video or folder of frames that it is prepared from; None: it is prepared already."""
    prepare: Options = field(default_factory=dict)


@dataclass(frozen=True)
class EditEntry:
    """An edit of a plan."""

    name: str
    layers: tuple[Options, ...]
    """Options of `edit.py` for each of its layers."""
    stages: dict[str, Options] = field(default_factory=dict)
    """Options of aggregate, render and evaluate."""
    fit: str = FIT

    def of(self, stage: str) -> Options:
        """The options of one stage after the edit."""
        return self.stages.get(stage, {})


@dataclass(frozen=True)
class Chains:
    """Adds chains of tasks to a plan."""

    plan: Plan
    allotment: Allotment = Allotment()
    """What each task is given."""
    fixed: frozenset[tuple[Path, str]] = frozenset()
    """Clips' folders and names of fits that are there and stay as they are."""

    def prepare(self, clip: ClipEntry) -> list[Task]:
        """Add the preparation of a clip; nothing where it is prepared already."""
        if clip.source is None:
            return []
        command = stage_command("prepare", [str(clip.source), str(clip.folder), *arguments_of("prepare", clip.prepare)])
        masks = Path(str(clip.prepare.get("masks", "")))
        files = [value for value in clip.prepare.values() if isinstance(value, Path)]
        reads = [clip.source, *([masks] if masks.is_absolute() else []), *files]
        makes = [clip.folder / "clip.json", clip.folder / "frames", clip.folder / "masks"]
        if clip.prepare.get("masks") == "none":
            makes.pop()
        return [self._add("prepare", command, clip, reads=reads, makes=makes)]

    def fit(self, clip: ClipEntry, name: str = FIT, options: Options | None = None) -> list[Task]:
        """Add a fit, with the preparation before it; nothing where it is there and stays as it is."""
        if (clip.folder, name) in self.fixed:
            return self.prepare(clip)
        command = stage_command("fit", [str(clip.folder), "--name", name, *arguments_of("fit", options or {})])
        makes = [clip.folder / "fits" / name / "layers"]
        return [self._add("fit", command, clip, name if name != FIT else "", needs=self.prepare(clip), makes=makes)]

    def fit_variant(self, clip: ClipEntry, name: str, options: Options, words: Sequence[str]) -> list[Task]:
        """Add a fit by a preset of which something is left out, with the preparation before it. words: say what."""
        arguments = [str(clip.folder), "--name", name, *arguments_of("fit", options), *words, "--quiet"]
        command = ["-m", "scripts.sweeps.variant", *arguments]
        makes = [clip.folder / "fits" / name / "layers"]
        return [self._add("fit", command, clip, name, needs=self.prepare(clip), makes=makes)]

    def measure_fit(self, clip: ClipEntry, name: str, fit: Sequence[Task], options: Options) -> Task:
        """Add the evaluation of a fit alone."""
        words = [str(clip.folder), "--fit", name, "--json", *arguments_of("evaluate", options)]
        return self._add("evaluate", stage_command("evaluate", words), clip, name, needs=fit, prints=True)

    def edit(self, clip: ClipEntry, entry: EditEntry, needs: Sequence[Task]) -> list[Task]:
        """Add the edits of an entry's layers, one after the other, as they share a folder. needs: before the first."""
        for options in entry.layers:
            layer = str(options["layer"])
            named = {name: value for name, value in options.items() if name not in ("layer", "editor")}
            words = [str(clip.folder), "--name", entry.name, "--layer", layer, "--fit", entry.fit]
            words += ["--editor", str(options["editor"]), *arguments_of("edit", named)]
            folder, target = clip.folder / "edits" / entry.name, target_of(clip, options)
            made = folder / "atlas" / f"{layer}.png" if target == "atlas" else folder / "keyframes" / layer
            reads = [value for value in named.values() if isinstance(value, Path)]
            name = f"{entry.name} {layer}" if len(entry.layers) > 1 else entry.name
            needs = [self._add("edit", stage_command("edit", words), clip, name, needs=needs, reads=reads, makes=[made])]
        return list(needs)

    def share(self, clip: ClipEntry, edit: str, name: str, needs: Sequence[Task]) -> list[Task]:
        """Add a copy of an edit under another name."""
        command = ["-m", "scripts.sweeps.share", str(clip.folder), "--edit", edit, "--name", name, "--quiet"]
        made = clip.folder / "edits" / name / "edit.json"
        return [self._add("share", command, clip, name, needs=needs, makes=[made])]

    def aggregate(self, clip: ClipEntry, entry: EditEntry, needs: Sequence[Task]) -> list[Task]:
        """Add the merging of an edit's keyframes; nothing where every frame is edited, and rendered as it is."""
        on_frames = all(target_of(clip, options) == "frames" for options in entry.layers)
        if on_frames and entry.of("render").get("mode", "auto") in ("auto", "frames"):
            return list(needs)
        words = [str(clip.folder), "--edit", entry.name, *arguments_of("aggregate", entry.of("aggregate"))]
        makes = [clip.folder / "edits" / entry.name / "atlas"]
        return [self._add("aggregate", stage_command("aggregate", words), clip, entry.name, needs=needs, makes=makes)]

    def render(self, clip: ClipEntry, entry: EditEntry, needs: Sequence[Task]) -> list[Task]:
        """Add the rendering of an edit."""
        options, folder = entry.of("render"), clip.folder / "edits" / entry.name
        words = [str(clip.folder), "--edit", entry.name, *arguments_of("render", options)]
        makes = [rendered_path(folder, options), folder / "sheet.png"]
        return [self._add("render", stage_command("render", words), clip, entry.name, needs=needs, makes=makes)]

    def evaluate(self, clip: ClipEntry, entry: EditEntry, needs: Sequence[Task]) -> Task:
        """Add the evaluation of an edit."""
        words = [str(clip.folder), "--edit", entry.name, "--json", *arguments_of("evaluate", entry.of("evaluate"))]
        return self._add("evaluate", stage_command("evaluate", words), clip, entry.name, needs=needs, prints=True)

    def _add(
        self,
        stage: str,
        command: Sequence[str],
        clip: ClipEntry,
        name: str = "",
        *,
        needs: Sequence[Task] = (),
        reads: Sequence[Path] = (),
        makes: Sequence[Path] = (),
        prints: bool = False,
    ) -> Task:
        # What is prepared already may be prepared anew by hand: what was made of it is then to be made again.
        before = [clip.folder / "clip.json"] if clip.source is None and not needs else []
        return self.plan.add(
            Task.of(
                stage,
                command,
                clip.folder,
                " ".join(filter(None, (stage, clip.name, name))),
                pinned=self.allotment.pinned(stage, command),
                needs=needs,
                reads=[*before, *reads],
                makes=makes,
                prints=prints,
                resources=self.allotment.resources(stage, command),
            )
        )


def whole_chain(chains: Chains, clip: ClipEntry, entry: EditEntry, fit: Options, also: Sequence[Task] = ()) -> list[Task]:
    """Add all stages of an edit: those of its own, from the edit on, are returned in order. also: needed before it."""
    needs_fit = any(_needs_fit(clip, options) for options in entry.layers)
    before = chains.fit(clip, entry.fit, fit) if needs_fit else chains.prepare(clip)
    edited = chains.edit(clip, entry, [*before, *also])
    merged = chains.aggregate(clip, entry, edited)
    rendered = chains.render(clip, entry, merged)
    measured = chains.evaluate(clip, entry, rendered)
    return list({task.id: task for task in (*edited, *merged, *rendered, measured)}.values())


def completed(given: Options, defaults: Options, where: str) -> Options:
    """Options of an edit with layer and editor: the editor whose own option is there. UserError where that tells none.

    defaults: hold where nothing is given, but for what is of another editor alone.
    """
    editor = _editor_of(given) or _editor_of(defaults | given)
    if editor is None:
        own = ", ".join(f"{one.needs} ({name})" for name, one in EDITORS.items())
        raise UserError(f"{where}: it does not say how to edit: give editor, or one of {own}")
    others: set[str] = set()
    if editor in EDITORS:
        mine = EDITORS[editor].own_options()
        others = {name for one in EDITORS.values() for name in one.own_options() if name not in mine}
    usual = {name: value for name, value in defaults.items() if name not in others}
    return {"layer": LAYER} | usual | given | {"editor": editor}


def _editor_of(options: Options) -> str | None:
    """The editor that options name, or the only one whose own option is among them."""
    if "editor" in options:
        return str(options["editor"])
    fitting = [name for name, editor in EDITORS.items() if options.get(editor.needs) is not None]
    return fitting[0] if len(fitting) == 1 else None


def target_of(clip: ClipEntry, options: Options) -> str:
    """What an edit changes of its layer: keyframes, atlas or frames."""
    editor = _editor(clip, options)
    return "keyframes" if editor is None else editor.target(str(options["layer"]))


def rendered_path(folder: Path, options: Options) -> Path:
    """Where render puts an edit, by its options."""
    name = options.get("format", options_of("render")["format"].default)
    if name not in FORMATS and name not in IMAGES:
        return folder / name  # there is no such format: the stage will say so
    return folder / usual_name(name, alpha=bool(options.get("alpha")))


def _needs_fit(clip: ClipEntry, options: Options) -> bool:
    """Whether an edit looks through a fit; where its options are wrong it is taken for one that does."""
    try:
        editor = _editor(clip, options)
        return editor is None or editor.needs_fit(str(options["layer"]))
    except UserError:
        return True


def _editor(clip: ClipEntry, options: Options) -> Editor[Any] | None:
    """The editor of these options, not checked; None where there is none of that name: the stage will say so."""
    if options["editor"] not in EDITORS:
        return None
    try:
        values: dict[str, Any] = {"clip": clip.folder, "name": ""} | options
        return EDITORS[options["editor"]](EditOptions(**values))
    except UserError:
        return None
