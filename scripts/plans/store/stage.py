"""Run a stage around which its clip is brought from a store and taken back there.

    python -m scripts.plans.store.stage --store URL --key NAME --clip CLIP [--file PATH] -- scripts/fit.py CLIP ...

What follows `--` are the arguments of Python. The stage runs in this process's group; its exit status is passed on, and where a
signal ended it, this process ends by the same. Exit status 3: another machine is at work on the clip; 1: the store failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from atlas.errors import BusyError, UserError
from atlas.system.interrupt import INTERRUPTED
from atlas.system.terminal import in_one_line
from scripts.plans.store.area import Area
from scripts.plans.store.claim import EXPIRES
from scripts.plans.store.folder import Folder
from scripts.plans.store.remote import Remote, StoreError
from scripts.plans.store.report import Report
from scripts.plans.store.sources import Source

_FAILED = 1
_TAIL = 1 << 16  # bytes of what the stage said that are kept
_LARGEST = 16_000_000  # bytes of a result
_PATIENCE = 2.0  # seconds for which what a stage has started may keep its output open


@dataclass
class Stage:
    """A stage of a plan whose clip is in a store."""

    remote: Remote
    key: str
    """Name of the clip in the store."""
    clip: Path
    command: list[str]
    sources: list[Source]
    makes: list[str]
    """Files and folders in the clip that are there once it is done."""
    report: str = ""
    """Name under which the store is told how it ended."""
    expires: float = EXPIRES

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._result = b""

    def run(self) -> int:
        """Bring, run, take back; returns the exit status, negative: the signal that ended the stage."""
        status, made, is_told = _FAILED, "", bool(self.report)
        try:
            status, made = self._around()
        except UserError as problem:
            status = self._tell(f"error: {in_one_line(str(problem))}", 2)
        except BusyError as problem:
            from atlas.system.command import BUSY  # takes tyro, which nothing else here needs

            is_told = False
            status = self._tell(f"busy: {in_one_line(str(problem))}", BUSY)
        except (StoreError, OSError) as problem:  # the network, or this machine's disk: another try may go better
            status = self._tell(f"error: {in_one_line(str(problem))}", _FAILED)
        finally:
            if is_told:
                with contextlib.suppress(StoreError):
                    result = self._result.decode(errors="replace") if status == 0 else ""
                    said = self._said.decode(errors="replace")
                    Report(status, made, result, said, self.remote.traffic.figures()).write(self.remote, self.report)
        return status

    def _around(self) -> tuple[int, str]:
        area = Area(self.remote.below(f"clips/{self.key}"), str(self.clip))
        folder = Folder(self.clip, area)
        with area.claim(self.expires).held() as claim:
            for source in self.sources:
                source.bring(self.remote)
            version = area.newest()
            self.clip.parent.mkdir(parents=True, exist_ok=True)
            folder.bring(version)
            folder.begin()
            status = self._status()
            # Also where it was killed or interrupted: what it left is what the next try goes on with, wherever that is.
            version = folder.give(version, claim)
            return status, version.manifest.made(self.makes)

    def _status(self) -> int:
        """Run the command, passing on what it says."""
        self._process = subprocess.Popen(
            [sys.executable, *self.command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        pumps = [
            threading.Thread(target=_pump, args=(self._process.stdout, 1, self._keep_result), daemon=True),
            threading.Thread(target=_pump, args=(self._process.stderr, 2, self._keep_said), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        status = self._process.wait()
        for pump in pumps:
            pump.join(_PATIENCE)
        self._process = None
        return status

    def _keep_result(self, data: bytes) -> None:
        self._result = (self._result + data)[:_LARGEST]

    def _keep_said(self, data: bytes) -> None:
        self._said = (self._said + data)[-_TAIL:]

    def _tell(self, line: str, status: int) -> int:
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode(errors="backslashreplace"))
        self._keep_said(f"{line}\n".encode(errors="backslashreplace"))
        return status

    def told(self, number: int, frame: FrameType | None) -> None:
        """Take a signal. What comes to the whole group, as Ctrl-C does, has reached the stage: its end is awaited.

        What tells this process alone to end is passed on. Before and after the stage it ends at once.
        """
        if self._process is None:
            raise _Told(number)
        if not _reaches_all(number):
            self._process.send_signal(number)


class _Told(BaseException):
    """A signal that ends this process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _reaches_all(number: int) -> bool:
    """Whether a signal is sent to the whole group: Ctrl-C, and what stands for it on Windows."""
    return number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGINT))


def _pump(stream: IO[bytes], descriptor: int, keep: Callable[[bytes], None]) -> None:
    """Pass on what a stage says, as it comes."""
    while data := os.read(stream.fileno(), 1 << 16):
        keep(data)
        with contextlib.suppress(OSError):
            os.write(descriptor, data)


def _end_by(number: int) -> None:
    """End this process by a signal."""
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the stage's was the one to look at
    with contextlib.suppress(OSError, ValueError):  # those that cannot be caught
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _parsed(words: list[str]) -> Stage:
    parser = argparse.ArgumentParser(prog="python -m scripts.plans.store.stage", description=__doc__)
    parser.add_argument("--store", required=True, help="URL of the store")
    parser.add_argument("--key", required=True, help="name of the clip in the store")
    parser.add_argument("--clip", required=True, type=Path, help="folder of the clip")
    parser.add_argument("--file", action="append", default=[], type=Path, help="file that the stage reads")
    parser.add_argument("--folder", action="append", default=[], type=Path, help="folder that the stage reads")
    parser.add_argument("--make", action="append", default=[], help="file or folder in the clip that it makes")
    parser.add_argument("--report", default="", help="name under which the store is told how it ended")
    parser.add_argument("--expires", type=float, default=EXPIRES, help="seconds after which a silent machine counts as dead")
    parser.add_argument("command", nargs="+", help="arguments of Python")
    given: Any = parser.parse_args(words)
    sources = [Source(path, is_file) for paths, is_file in ((given.file, True), (given.folder, False)) for path in paths]
    remote = Remote.open(given.store)
    clip = given.clip.absolute()
    return Stage(remote, given.key, clip, given.command, sources, given.make, given.report, given.expires)


def main(words: list[str]) -> int:
    """Run a stage as a command line asks for."""
    try:
        stage = _parsed(words)
    except UserError as problem:
        print(f"error: {in_one_line(str(problem))}", file=sys.stderr)
        return 2
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stage.told)
    try:
        status = stage.run()
    except _Told as told:
        if _reaches_all(told.number):
            return INTERRUPTED
        status = -told.number
    if status < 0 and os.name != "nt":
        sys.stderr.flush()
        _end_by(-status)
    return status & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
