"""What a plan sends to Ray's workers, as code: they may not find this project until they are told where it lies.

So this file imports nothing of it, and what goes to and fro is plain values.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

_LARGEST = 1 << 16  # bytes of a log that are sent at once
_PATIENCE = 10.0  # seconds for the last news to arrive


class Gatherer:
    """Actor on the plan's own node: gathers what tasks say and how far they are, and tells them when they are to stop."""

    def __init__(self) -> None:
        self._logs: dict[str, list[bytes]] = {}
        self._progress: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._is_stopped = False

    def tell(self, name: str, log: bytes, progress: str, node: str = "") -> bool:
        """Take news of a try: more of its log, its newest line of progress, its node; returns whether it is to stop."""
        self._logs.setdefault(name, []).append(log)
        if progress:
            self._progress[name] = progress
        if node:
            self._nodes[name] = node
        return self._is_stopped

    def take(self) -> dict[str, tuple[bytes, str, str]]:
        """Hand over what is new, by try: log, progress and, of one that has begun, its node."""
        news = {
            name: (b"".join(logs), self._progress.get(name, ""), self._nodes.get(name, "")) for name, logs in self._logs.items()
        }
        self._logs, self._progress, self._nodes = {}, {}, {}
        return news

    def stop(self) -> None:
        """From now on tell all to stop."""
        self._is_stopped = True


def perform_for(gatherer: Any, name: str, root: str, work: dict[str, Any], prints: bool) -> tuple[tuple[Any, ...], bytes]:
    """Run a task on this node, from the project's folder; returns how it ended, and what it printed.

    name: of this try. root: the project's folder.
    """
    if not os.path.isdir(root):
        line = f"error: {platform.node()} has no {root}: install this project at the same path on every node\n"
        gatherer.tell.remote(name, line.encode(), "").future().result(_PATIENCE)
        return (work["task"], 2), b""
    sys.path.insert(0, root)
    import ray

    from scripts.plans.engines.protocol import Outputs
    from scripts.plans.engines.remote import Work, perform

    # Where Ray keeps its own: a worker that is killed leaves it.
    with tempfile.TemporaryDirectory(prefix="task-", dir=os.environ.get("RAY_TMPDIR")) as folder:
        result = Path(folder, "result") if prints else None
        outputs = Outputs(Path(folder, "log"), Path(folder, "progress"), result)
        news = _News(gatherer, name, ray.get_runtime_context().get_node_id(), outputs.log, outputs.progress)
        ended = perform(Work(**work), outputs, news.send)
        news.finish()
        printed = result.read_bytes() if result and result.exists() else b""
        return (ended.task, ended.status, ended.seconds, ended.cpu_seconds, ended.peak_mb), printed


class _News:
    """Sends what is new of a try, and never waits for an answer: Ray would take that for idleness, and give away the cores."""

    def __init__(self, gatherer: Any, name: str, node: str, log: Path, progress: Path) -> None:
        self._gatherer, self._name, self._log, self._progress = gatherer, name, log, progress
        self._told, self._newest = 0, ""
        self._answer: Any = None
        self._is_stopped = False
        self._tell(b"", "", node)

    def send(self) -> bool:
        """Send what is new, unless the last message is still under way; returns whether the try is to stop."""
        if self._answer.done():
            with contextlib.suppress(Exception):  # the actor is out of reach, or was started anew
                self._is_stopped |= bool(self._answer.result())
            self._tell(*self._new())
        return self._is_stopped

    def finish(self) -> None:
        """Send what is left, and wait until it has arrived."""
        with contextlib.suppress(Exception):
            self._answer.result(_PATIENCE)
        log, progress = self._new()
        while True:
            self._tell(log, progress)
            with contextlib.suppress(Exception):
                self._answer.result(_PATIENCE)
            log, progress = self._new()
            if not log:
                return

    def _tell(self, log: bytes, progress: str, node: str = "") -> None:
        self._answer = self._gatherer.tell.remote(self._name, log, progress, node).future()

    def _new(self) -> tuple[bytes, str]:
        log = b""
        with contextlib.suppress(OSError), self._log.open("rb") as stream:
            stream.seek(self._told)
            log = stream.read(_LARGEST)
        self._told += len(log)
        lines = b""
        with contextlib.suppress(OSError), self._progress.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LARGEST))
            lines = stream.read()
        whole = lines.rpartition(b"\n")[0].rpartition(b"\n")[2].decode(errors="replace")
        newest, self._newest = (whole if whole != self._newest else ""), whole
        return log, newest
