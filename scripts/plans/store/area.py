"""Area of a store: one folder's versions. Files lie there by their digests, and a manifest, written last, says which they are.

manifests/00000007-DIGEST.json      named by its own digest: a torn one is told, and passed over
objects/DIGEST                      files of the newest manifest and of the one before it
claims/TOKEN.json                   who writes there (`claim.py`)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from atlas.errors import BusyError, UserError
from scripts.plans.store.claim import EXPIRES, Claim
from scripts.plans.store.manifest import LARGEST, Entry, Manifest, sha256
from scripts.plans.store.remote import Remote, StoreError

_Item = TypeVar("_Item")
_NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.json")
_THREADS = 8
_LOOKS = 5  # at a folder that another process is changing


@dataclass(frozen=True)
class Version:
    """A state of a folder in the store."""

    number: int = 0
    name: str = ""
    """Of its manifest; "" where there is none yet."""
    manifest: Manifest = field(default_factory=Manifest)
    seen: str = ""
    """The newest manifest's name, whole or torn, when this was read."""


@dataclass(frozen=True)
class Area:
    """A folder as it is kept in a store."""

    remote: Remote
    shown: str
    """What it is, for messages."""

    def claim(self, expires: float = EXPIRES) -> Claim:
        """The claim to write here."""
        return Claim(self.remote, self.shown, expires)

    def newest(self) -> Version:
        """The newest whole version; UserError where there are manifests and none is whole, or it is refused."""
        for _ in range(_LOOKS):
            names = self._manifests()
            for name in names:
                data = self.remote.get(f"manifests/{name}", LARGEST)
                if data is None:  # just replaced by a newer one
                    break
                if sha256(data) == _digest(name):
                    manifest = Manifest.of(data, f"{self.shown} in the store, manifests/{name},")
                    return Version(int(name[:8]), name, manifest, names[0])
            else:
                if names:
                    raise UserError(
                        f"{self.shown} in the store is damaged: none of its manifests is whole: use another --store"
                    )
                return Version()
        raise StoreError(f"{self.shown} in the store is changed too often to be read")

    def commit(self, before: Version, after: Manifest, folder: Path, claim: Claim) -> Version:
        """Write a new version of files that lie in `folder` here; until the end of it the one before holds.

        BusyError, and nothing has changed, where the claim was lost; UserError where a name cannot be in a store.
        """
        data = after.checked_data(folder)  # once written, what cannot be read again would keep all from the clip
        known = {one.sha256 for one in before.manifest.files.values()}
        # What no manifest names is written anew: a killed upload may have left a part of it.
        new = {one.sha256: name for name, one in after.files.items() if one.sha256 not in known}
        _at_once(lambda item: self._put(folder / item[1], after.files[item[1]]), new.items())
        names = self._manifests()
        number = max([before.number, *(int(name[:8]) for name in names)]) + 1
        own = f"{number:08d}-{sha256(data)}.json"
        claim.check()
        is_alone = "".join(names[:1]) == before.seen
        if is_alone:
            self.remote.put(f"manifests/{own}", data)
            if not (is_alone := self._manifests()[:1] == [own]):
                self.remote.remove(f"manifests/{own}")
        if not is_alone:  # while this process slept, another one took over
            raise BusyError(f"{self.shown}: another process wrote to the store at the same time: run the same command again")
        self._tidy({own, before.name}, known | {one.sha256 for one in after.files.values()})
        return Version(number, own, after, own)

    def bring(self, files: Mapping[str, Entry], place: Callable[[str], Path]) -> None:
        """Copy files here, each to where `place` says by its name, which is there to be written to."""
        _at_once(lambda item: self._get(place(item[0]), item[1]), files.items())

    def _put(self, path: Path, entry: Entry) -> None:
        self.remote.put_file(f"objects/{entry.sha256}", path, entry.size, entry.sha256)

    def _get(self, path: Path, entry: Entry) -> None:
        self.remote.get_file(f"objects/{entry.sha256}", path, entry.size, entry.sha256)

    def _manifests(self) -> list[str]:
        return sorted((name for name in self.remote.names("manifests") if _NAME.fullmatch(name)), reverse=True)

    def _tidy(self, manifests: set[str], objects: set[str]) -> None:
        """Remove what neither this version nor the one before it holds, which somebody may just be reading."""
        old = [f"manifests/{name}" for name in self._manifests() if name not in manifests]
        old += [f"objects/{name}" for name in self.remote.names("objects") if name not in objects]
        _at_once(self.remote.remove, old)


def _at_once(work: Callable[[_Item], None], items: Iterable[_Item]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        begun = [pool.submit(work, item) for item in items]
        try:
            for one in begun:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _digest(name: str) -> str:
    return name[9:73]
