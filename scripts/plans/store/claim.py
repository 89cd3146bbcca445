"""Claim: who writes to a folder of a store, said by a file there that is renewed for as long as that goes on.

It needs nothing of a store but that who lists a folder sees what was written into it before, as S3, Google's and Azure's stores
and disks promise. Whoever claims writes first and looks then: of two that come at once at least one sees the other, and who
sees another withdraws. No clock is believed to take a claim over: it is watched for as long as its holder takes to renew it.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from atlas.errors import BusyError
from atlas.storage.json_text import parsed
from atlas.storage.lease.owner import Owner
from scripts.plans.store.remote import Remote, StoreError

EXPIRES = 90.0
"""Seconds after its last renewal from which on a claim may be taken over."""
_LARGEST = 4096  # bytes of a claim
_TRIES = 4  # of those that came at the same moment
_UNKNOWN = Owner("an unknown machine", "", 0, "", "another command", "just now", "")


@dataclass
class Claim:
    """The claim of this process on a folder of a store."""

    remote: Remote
    shown: str
    """What is claimed, for messages."""
    expires: float = EXPIRES
    me: Owner = field(default_factory=Owner.here)
    _beat: int = 0
    _renewed: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def held(self) -> Iterator[Claim]:
        """Hold the claim inside the block; BusyError where somebody else has it."""
        self._take()
        renewing = threading.Thread(target=self._renew, name="claim", daemon=True)
        renewing.start()
        try:
            yield self
        finally:
            self._ended.set()
            renewing.join()
            with contextlib.suppress(StoreError):  # it expires by itself
                self.remote.remove(self._file)

    def check(self) -> None:
        """BusyError where the claim may be somebody else's by now: the last thing to ask before what is written counts."""
        is_late = time.monotonic() - self._renewed > self.expires
        if is_late or self.remote.names("claims") != [f"{self.me.token}.json"]:
            raise BusyError(f"{self.shown}: this process could not renew its claim for a while: run the same command again")

    @property
    def _file(self) -> str:
        return f"claims/{self.me.token}.json"

    def _take(self) -> None:
        for attempt in range(_TRIES):
            self._refuse_other()
            self._write()
            try:
                self._refuse_other()
                return
            except BaseException as other:
                self.remote.remove(self._file)
                if not isinstance(other, BusyError) or attempt == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0, 0.4))  # not by the seed of anything: two must differ

    def _refuse_other(self) -> None:
        """BusyError where another claim lives; those of the dead go."""
        for name in self.remote.names("claims"):
            if name != f"{self.me.token}.json" and (owner := self._living(f"claims/{name}")) is not None:
                raise BusyError(f"{self.shown}: {owner} is at work there, in the store: run this again later")

    def _living(self, name: str) -> Owner | None:
        """Whose claim it is; None where nobody's any more."""
        data = self.remote.get(name, _LARGEST)
        if data is None:
            return None
        owner, until = _read(data)
        if owner is not None and owner.is_dead():
            self.remote.remove(name)
            return None
        if time.time() < until <= time.time() + 2 * self.expires:  # else one of the clocks is wrong: it is watched
            return owner or _UNKNOWN
        end = time.monotonic() + self._pause * 1.25 + 0.2
        while time.monotonic() < end:
            time.sleep(self._pause / 8)
            now = self.remote.get(name, _LARGEST)
            if now != data:
                return None if now is None else owner or _UNKNOWN
        self.remote.remove(name)
        return None

    @property
    def _pause(self) -> float:
        return self.expires / 4.5

    def _write(self) -> None:
        self._beat += 1
        claim = {"owner": self.me.to_dict(), "beat": self._beat, "until": time.time() + self.expires}
        began = time.monotonic()
        self.remote.put(self._file, json.dumps(claim).encode())
        self._renewed = began

    def _renew(self) -> None:
        while not self._ended.wait(self._pause):
            # Gone is gone: who took it over may have begun to write. What the network lost is tried again.
            with contextlib.suppress(StoreError):
                if self.remote.get(self._file, _LARGEST) is None:
                    return
                self._write()


def _read(data: bytes) -> tuple[Owner | None, float]:
    """Owner and end of a claim; of one that is torn, or nobody's, nobody and 0."""
    try:
        claim = parsed(data)
        return Owner.of(claim["owner"]), float(claim["until"])
    except (ValueError, KeyError, TypeError):
        return None, 0.0
