"""A plan's clips in a store: hand in what this machine has, wrap the tasks' commands, and see what was made.

The tasks stay what they are, their ids too: what is put in front of a command is known to the engine alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.stamps import digest
from scripts.plans.plan import Plan, Task, state_digest
from scripts.plans.state import State
from scripts.plans.store.area import Area, Version
from scripts.plans.store.folder import Folder
from scripts.plans.store.named import named_sources
from scripts.plans.store.remote import Remote, StoreError, checked_url
from scripts.plans.store.report import Report
from scripts.plans.store.sources import Source

SHOWN = "render"
"""The stage that makes what people look at: films and sheets are brought here."""
THREADS = 32
"""Requests to the store under way at once."""
_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Stored:
    """A plan's clips in a store, as the machine sees them that runs it. UserError where the store cannot be used."""

    def __init__(self, url: str, plan: Plan) -> None:
        self.url, self.remote = url, Remote.open(url)
        self.remote.check(checked_url(url))
        self._plan = plan
        for task in plan:
            _within(task)
        self._versions: dict[str, Version] = {}
        self._sources = {task.id: named_sources(task) for task in plan}
        prepared = {task.clip: self._sources[task.id][:1] for task in plan if task.stage == "prepare"}
        for task in plan:
            if task.stage == SHOWN:  # the source's sound, and its own size
                self._sources[task.id] += prepared.get(task.clip) or _source_of(Path(task.clip))
        self.reports: dict[str, Report] = {}
        """What was told of tasks that are done, by their ids."""

    def begin(self, folder: Path) -> State:
        """Hand in what this machine has, and bring the films that are done; returns how the plan in `folder` stands."""
        self.give()
        state = State(folder, self.made)
        self.bring(task for task in self._plan if task.stage == SHOWN and state.is_done(task))
        return state

    def give(self) -> None:
        """Put what tasks read into the store, and what was made or changed in the clips' folders here."""
        missing = {source for sources in self._sources.values() for source in sources}
        try:
            for source in sorted(missing, key=lambda one: one.path):
                source.give(self.remote)
            for clip in dict.fromkeys(task.clip for task in self._plan):
                self._give_clip(Folder(Path(clip), self._area(clip)))
            self._look({task.clip for task in self._plan})
        except StoreError as problem:
            raise UserError(f"--store {checked_url(self.url)}: {problem}") from None

    def made(self, task: Task, state: State) -> str:
        """Digest of what a task made, by the store's word, and of its result here; empty where something is missing."""
        report = self.reports.get(task.id)
        made = report.made if report else self._versions[task.clip].manifest.made(_within(task))
        result = state_digest([str(state.result_path(task))]) if task.prints else "-"
        return f"{made}{result}" if made and result else ""

    def wrapped(self, task: Task, report: str) -> Task:
        """The same task, its command between bringing its clip and taking it back."""
        words = ["-m", "scripts.plans.store.stage", "--store", self.url, "--key", _key(task.clip), "--clip", task.clip]
        for source in self._sources[task.id]:
            words += ["--file" if source.is_file else "--folder", str(source.path)]
        for name in _within(task):
            words += ["--make", name]
        return replace(task, command=(*words, "--report", report, "--", *task.command))

    def bring(self, tasks: Iterable[Task]) -> None:
        """Bring what tasks made into the clips' folders here. UserError where the store fails."""
        wanted: dict[str, list[str]] = {}
        for task in tasks:
            wanted.setdefault(task.clip, []).extend(_within(task))
        try:
            self._look(wanted)
            for clip, names in wanted.items():
                folder = Folder(Path(clip), self._area(clip))
                Path(clip).parent.mkdir(parents=True, exist_ok=True)
                folder.bring(self._versions[clip], lambda name, names=names: _is_in(name, names))  # type: ignore[misc]
        except StoreError as problem:
            raise UserError(f"--store {checked_url(self.url)}: {problem}") from None

    def _give_clip(self, folder: Folder) -> None:
        if folder.path.is_dir() and folder.has_own():
            with folder.area.claim().held() as claim:
                version = folder.area.newest()
                folder.bring(version, lambda name: False)  # refuses what was changed here and there
                folder.give(version, claim)

    def _look(self, clips: Iterable[str]) -> None:
        """Read how clips stand in the store."""
        names = list(clips)
        with ThreadPoolExecutor(THREADS) as pool:
            self._versions |= zip(names, pool.map(lambda clip: self._area(clip).newest(), names), strict=True)

    def _area(self, clip: str) -> Area:
        return Area(self.remote.below(f"clips/{_key(clip)}"), clip)


def _key(clip: str) -> str:
    """What a clip's folder is called in the store: readable, and different for different folders."""
    name = "".join(letter if letter in _SAFE else "_" for letter in Path(clip).name)[:60]
    return f"{name}-{digest(clip)[:12]}"


def _within(task: Task) -> list[str]:
    """What a task makes, by names within its clip."""
    try:
        return [Path(path).relative_to(task.clip).as_posix() for path in task.makes]
    except ValueError:
        raise UserError(f"{task.title} makes files outside of {task.clip}, which a store does not bring back") from None


def _is_in(name: str, names: list[str]) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in names)


def _source_of(clip: Path) -> list[Source]:
    """The source of a prepared clip, where it is on this machine."""
    try:
        path = Path(Clip.open(clip).source.path)
    except (UserError, OSError):
        return []
    return [Source(path, path.is_file())] if path.is_absolute() and path.exists() else []
