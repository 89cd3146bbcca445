"""A Ray cluster of two nodes on this machine, for tests: one for the plan, and one that may die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

Found = TypeVar("Found")


@dataclass
class Machines:
    """A cluster: its head, where a plan is run, and a node that may die."""

    cluster: Any = None
    other: Any = None

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add_other(self) -> None:
        """Start the second node: of one core and two GPUs that there are not."""
        if self.other is not None:
            self.cluster.remove_node(self.other, allow_graceful=False)
        self.other = patiently(lambda: self.cluster.add_node(num_cpus=1, num_gpus=2, object_store_memory=80 * 2**20))


def patiently(start: Callable[[], Found]) -> Found:
    """Start something of Ray's, which gives up after 30 seconds, and takes longer on a busy machine: three times."""
    for _ in range(2):
        with contextlib.suppress(Exception):
            return start()
    return start()


SWEEP = """
import psutil, shutil, sys
sys.stdin.read()
for one in psutil.process_iter():
    try:
        if one.environ().get("RAY_TMPDIR") == sys.argv[1] and one.pid not in (psutil.Process().pid, int(sys.argv[2])):
            one.kill()
    except psutil.Error:
        pass
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Kills what is left of a cluster, once the process of the tests has ended its input, or has died."""


@contextlib.contextmanager
def two_nodes() -> Iterator[Machines]:
    """Run a cluster of two nodes of one core on this machine; nothing of it is left afterwards, whatever happens."""
    from ray.cluster_utils import Cluster

    # Deep in a folder of pytest's the names of sockets would be too long.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    (folder / "ray").mkdir()
    quick = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 2000, "failure_threshold": 4}
    quick = {f"health_check_{name}": value for name, value in quick.items()}
    head = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "_system_config": quick}
    made, handler = Machines(), signal.getsignal(signal.SIGTERM)
    words = [sys.executable, "-c", SWEEP, str(folder), str(os.getpid())]
    sweep = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_process_group_cleanup_enabled", "1")
        try:
            made.cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=dict(head)))
            signal.signal(signal.SIGTERM, handler)  # Ray's own waits for half a minute
            made.add_other()
            yield made
        finally:
            if made.cluster is not None:
                made.cluster.shutdown()
            assert sweep.stdin is not None
            sweep.stdin.close()
            sweep.wait()
            signal.signal(signal.SIGTERM, handler)
