"""Claims: of two machines one writes at a time; the dead are followed, the living never, whatever the clocks say."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import replace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from atlas.errors import BusyError
from scripts.plans.store.claim import Claim
from scripts.plans.store.remote import Remote

SHORT = 0.9
"""Seconds after which a claim is dead here: it is renewed every fifth of a second."""


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> Remote:
    return Remote(MemoryFileSystem(), f"/{request.node.nodeid}")


def from_elsewhere(remote: Remote) -> Claim:
    """A claim of another machine, of whose processes nothing is known here."""
    claim = Claim(remote, "the clip", SHORT)
    claim.me = replace(claim.me, machine="elsewhere", host="other")
    return claim


def test_one_at_a_time(remote: Remote) -> None:
    with from_elsewhere(remote).held() as claim:
        claim.check()
        with pytest.raises(BusyError, match="the clip: .* on other, since .* is at work there"), from_elsewhere(remote).held():
            pass
        claim.check()
    assert remote.names("claims") == []
    with from_elsewhere(remote).held():
        pass


def test_many_that_come_at_once_never_hold_it_together(remote: Remote) -> None:
    inside, most, times = [0], [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(4):
            with contextlib.suppress(BusyError), from_elsewhere(remote).held():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    times[0] += 1
                time.sleep(0.005)
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and times[0] >= 1 and remote.names("claims") == []


def test_a_claim_of_the_dead_is_taken_over_and_one_that_is_renewed_is_not(remote: Remote) -> None:
    dead = from_elsewhere(remote)
    said = {"owner": dead.me.to_dict(), "beat": 1, "until": time.time() - 5}
    remote.put("claims/dead.json", json.dumps(said).encode())
    remote.put("claims/torn.json", b'{"owner"')
    remote.put("claims/ahead.json", json.dumps(said | {"until": time.time() + 10**6}).encode())  # by a clock that was wrong
    with from_elsewhere(remote).held():
        assert len(remote.names("claims")) == 1

    # A machine whose clock is an hour behind: by ours its claim is long over, but it goes on renewing it.
    end = threading.Event()

    def behind() -> None:
        beat = 0
        while not end.is_set():
            beat += 1
            remote.put("claims/behind.json", json.dumps(said | {"beat": beat}).encode())
            time.sleep(SHORT / 6)

    thread = threading.Thread(target=behind)
    thread.start()
    time.sleep(0.05)
    with pytest.raises(BusyError), from_elsewhere(remote).held():
        pass
    end.set()
    thread.join()


def test_who_lost_the_claim_is_told(remote: Remote) -> None:
    with from_elsewhere(remote).held() as claim:
        remote.remove(f"claims/{claim.me.token}.json")
        with pytest.raises(BusyError, match="could not renew"):
            claim.check()
        time.sleep(SHORT / 3)
        assert remote.names("claims") == []  # it is not written again
    with from_elsewhere(remote).held() as claim:
        remote.put("claims/other.json", b"{}")  # somebody who took it for dead
        with pytest.raises(BusyError):
            claim.check()
