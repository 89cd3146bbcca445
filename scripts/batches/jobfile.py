"""Job files: clips, edits and defaults as they are written, checked, as entries of a plan.

    defaults: {preset: preview, method: mean}
    clips:
      - {name: swan, source: videos/swan.mp4, masks: masks/swan}
      - {clip: clips/cow, fitted: default, edits: [red]}
    edits:
      - {name: red, filter: recolour}
      - {name: both, layers: [{filter: hue}, {layer: background, filter: oil}]}

An option goes to every stage of its entry that has it; below a stage's name, to that stage alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.clip.clip import WHOLE_FRAME, checked_name, is_name
from atlas.errors import UserError, a_few
from atlas.system.terminal import in_one_line
from scripts.plans.chain import FIT, ClipEntry, EditEntry, Options, completed
from scripts.plans.options import EDIT_STAGES, FIT_STAGES, STAGES, option_of, options_of, taken, taken_options
from scripts.plans.places import Places

StageOptions = dict[str, Options]
_TOP = ("clips", "edits", "defaults")
_OF_CLIP, _OF_EDIT = {"name", "source", "clip", "fitted", "edits", *FIT_STAGES}, {"name", "layers", *EDIT_STAGES}
_ALONE = {("evaluate", "prompt")}
"""Options that mean something else in this stage than in the others, and are given to it below its name alone."""


@dataclass(frozen=True)
class Job:
    """A clip of a job file, and the edits that are to be made of it."""

    clip: ClipEntry
    fit: str
    """Name of the fit that its edits stand on."""
    is_fitted: bool
    """Whether that fit is there, and stays as it is."""
    fit_options: Options
    edits: tuple[EditEntry, ...]
    evaluate: Options = field(default_factory=dict)
    """Options of measuring the fit, where there is no edit."""


@dataclass(frozen=True)
class Reader:
    """Reads entries of a job file; UserError names file and entry."""

    file: Path
    places: Places
    clips_folder: Path
    """Where clips are made."""

    def jobs(self, data: dict[str, Any], usual: StageOptions) -> list[Job]:
        """The clips with their edits. usual: what holds where the file has no defaults."""
        self._known(data, set(_TOP), str(self.file))
        defaults = self.defaults(data.get("defaults") or {}, f"{self.file}, defaults", usual)
        edits: dict[str, EditEntry] = {}
        for number, entry in enumerate(self._list(data.get("edits") or [], f"{self.file}, edits"), 1):
            edit = self._edit(entry, defaults, self._where("edit", number, entry))
            self._once(edit.name, edits, "edits")
            edits[edit.name] = edit
        jobs: dict[str, Job] = {}
        for number, entry in enumerate(self._list(data.get("clips") or [], f"{self.file}, clips"), 1):
            job = self._job(entry, defaults, edits, self._where("clip", number, entry))
            self._once(job.clip.name, jobs, "clips")
            jobs[job.clip.name] = job
        if not jobs:
            raise UserError(f"{self.file} names no clip: list at least one below `clips:`")
        folders = [job.clip.folder for job in jobs.values()]
        if twice := [folder for folder in folders if folders.count(folder) > 1]:
            raise UserError(f"{self.file}: two clips are in {twice[0]}: name each once")
        return list(jobs.values())

    def defaults(self, given: Any, where: str, usual: StageOptions | None = None) -> StageOptions:
        """Options by stage that hold where an entry says nothing; `usual` where these say nothing."""
        return _joined(usual or {}, self._by_stage(self._mapping(given, where), STAGES, where))

    def edit_entry(self, name: str, given: dict[str, Any], defaults: StageOptions, where: str) -> EditEntry:
        """An edit of options, as an entry has them."""
        checked_name(name, "edit")
        layered = given.get("layers")
        own = {key: value for key, value in given.items() if key not in ("name", "layers")}
        stages = self._by_stage(own, EDIT_STAGES, where)
        layers: list[Options] = [{}]
        if layered is not None:
            several = enumerate(self._list(layered, f"{where}, layers"), 1)
            each = ((f"{where}, layer {number}", one) for number, one in several)
            layers = [taken_options("edit", self._mapping(one, place), place, self.places) for place, one in each]
        made = tuple(completed(stages["edit"] | options, defaults.get("edit", {}), where) for options in layers)
        names = [str(options["layer"]) for options in made]
        if not made or len(set(names)) < len(names):
            raise UserError(f"{where}: {'a layer stands twice' if made else 'there is no layer'}: list each layer once")
        if bad := [layer for layer in names if layer != WHOLE_FRAME and not is_name(layer)]:
            raise UserError(f"{where}: {in_one_line(bad[0])[:60]!r} is no layer's name: write foreground, background, ...")
        after = _joined(defaults, stages)
        return EditEntry(name, made, {stage: after[stage] for stage in EDIT_STAGES[1:]})

    def _edit(self, entry: Any, defaults: StageOptions, where: str) -> EditEntry:
        given = self._mapping(entry, where)
        return self.edit_entry(self._name(given, "edit", where), given, defaults, where)

    def _job(self, entry: Any, defaults: StageOptions, edits: dict[str, EditEntry], where: str) -> Job:
        given = self._mapping(entry, where)
        if ("source" in given) == ("clip" in given):
            raise UserError(f"{where}: give either source, a video or folder of frames, or clip, a prepared clip's folder")
        path = self.places.path(self._path(given, "source" if "source" in given else "clip", where), where)
        name = self._name(given, "clip", where) if "name" in given else path.stem if "source" in given else path.name
        own = {key: value for key, value in given.items() if key not in _OF_CLIP or key in FIT_STAGES}
        fit_name = FIT
        if isinstance(own.get("fit"), dict) and "name" in own["fit"]:
            fit_name = self._checked(own["fit"]["name"], "fit", where)
            own["fit"] = {key: value for key, value in own["fit"].items() if key != "name"}
        is_prepared = "clip" in given
        given_here = self._by_stage(own, FIT_STAGES, where)
        alone = [name for name in given_here["prepare"] if name not in given_here["fit"]]
        if is_prepared and alone:
            raise UserError(f"{where}: {alone[0]} is for preparing, and the clip is prepared: leave it out")
        stages = _joined(defaults, given_here)
        if "fitted" in given and not is_prepared:
            raise UserError(f"{where}: fitted names a fit that is there, and the clip is to be made: leave it out")
        fit_name = self._checked(given["fitted"], "fit", where) if "fitted" in given else fit_name
        folder = path if is_prepared else self.clips_folder / self._checked(name, "clip", where)
        clip = ClipEntry(name, folder, None if is_prepared else path, stages.get("prepare", {}))
        chosen = self._chosen(given, edits, where)
        return Job(clip, fit_name, "fitted" in given, stages.get("fit", {}), chosen, stages.get("evaluate", {}))

    def _chosen(self, given: dict[str, Any], edits: dict[str, EditEntry], where: str) -> tuple[EditEntry, ...]:
        if "edits" not in given:
            return tuple(edits.values())
        names = [str(name) for name in self._list(given["edits"] or [], f"{where}, edits")]
        if unknown := [name for name in names if name not in edits]:
            shown, known = in_one_line(unknown[0])[:60], a_few(edits, 8) or "none"
            raise UserError(f"{where}: there is no edit {shown!r} below `edits:` (there: {known})")
        if len(set(names)) < len(names):
            raise UserError(f"{where}: an edit stands twice in its edits: name each once")
        return tuple(edits[name] for name in names)

    def _by_stage(self, given: dict[str, Any], stages: tuple[str, ...], where: str) -> StageOptions:
        """Options by stage: those below a stage's name are its own and win, others go to every stage that has them."""
        by_stage: StageOptions = {stage: {} for stage in stages}
        for name, value in given.items():
            if name in stages:
                continue
            plain = str(name).replace("-", "_")
            having = [stage for stage in stages if plain in options_of(stage) and (stage, plain) not in _ALONE]
            having = having or [stage for stage in stages if option_of(stage, plain) is not None][:1]
            if not having:
                shown = in_one_line(str(name))[:60]
                raise UserError(f"{where}: no stage here has an option {shown!r}: see --help of {_scripts(stages)}")
            for stage in having:
                option = option_of(stage, plain)
                assert option is not None
                by_stage[stage][option.name] = taken(option, value, f"{where}, {name}", self.places)
        for stage in stages:
            if stage in given:
                own = self._mapping(given[stage], f"{where}, {stage}")
                by_stage[stage] |= taken_options(stage, own, f"{where}, {stage}", self.places)
        return by_stage

    def _where(self, kind: str, number: int, entry: Any) -> str:
        named = [entry.get(key) for key in ("name", "source", "clip")] if isinstance(entry, dict) else []
        name = next((text for text in named if isinstance(text, str)), "")
        return f"{self.file}, {kind} {number}" + (f" ({in_one_line(name)[:60]})" if name else "")

    def _name(self, given: dict[str, Any], kind: str, where: str) -> str:
        name = given.get("name")
        if name is None or isinstance(name, bool | list | dict):
            raise UserError(f"{where}: it has no name: give it one with `name:`")
        return self._checked(name, kind, where)

    def _checked(self, name: Any, kind: str, where: str) -> str:
        try:
            return checked_name(str(name), kind)
        except UserError as problem:
            raise UserError(f"{where}: {problem}") from None

    def _path(self, given: dict[str, Any], key: str, where: str) -> Path:
        value = given[key]
        if not isinstance(value, str) or not value or "\0" in value:
            raise UserError(f"{where}: {key} is no path")
        return Path(value)

    def _known(self, given: dict[str, Any], known: set[str], where: str) -> None:
        if unknown := [name for name in given if name not in known]:
            shown = in_one_line(str(unknown[0]))[:60]
            raise UserError(f"{where}: {shown!r} has no meaning here: write {', '.join(sorted(known))}")

    def _once(self, name: str, among: dict[str, Any], kind: str) -> None:
        # On some disks names that differ in case alone are one.
        if name.casefold() in (other.casefold() for other in among):
            raise UserError(f"{self.file}: two {kind} are called {name!r}: give each a name of its own")

    def _list(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise UserError(f"{where}: here stands a list, each entry behind a dash")
        return value

    def _mapping(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise UserError(f"{where}: here stand options, as `name: value`")
        return value


def _joined(first: StageOptions, second: StageOptions) -> StageOptions:
    """Options by stage, those of the second winning."""
    return {stage: first.get(stage, {}) | second.get(stage, {}) for stage in STAGES}


def _scripts(stages: tuple[str, ...]) -> str:
    return a_few([f"scripts/{stage}.py" for stage in stages], len(STAGES))
