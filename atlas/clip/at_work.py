"""Leases of the stages on what they read and write of a clip."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from atlas.storage.lease.lease import reading, writing
from atlas.storage.lease.remnants import bring_back, remove_left_overs


class _OfClip(Protocol):
    clip: Path
    wait: bool


Options = TypeVar("Options", bound=_OfClip)
Result = TypeVar("Result")


@contextlib.contextmanager
def at_work(clip: Path, *, writes: Iterable[Path] = (), reads: Iterable[Path] = (), wait: bool = False) -> Iterator[None]:
    """Hold what a stage writes (fits, edits, files) and what it reads, and the clip's frames, masks and flow as read.

    What dead runs left half-made there goes. Two stages that wait for each other there cannot be: all take their
    leases in the same order, the clip's, then edits', then fits'; one that takes more inside the block keeps to it. Raises
    BusyError where another command is at work and `wait` is False.
    """
    wanted = dict.fromkeys(reads, False) | dict.fromkeys(writes, True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reading(clip, inside=True, wait=wait))
        for path in sorted(wanted):
            stack.enter_context(writing(path, wait=wait) if wanted[path] else reading(path, wait=wait))
        remove_left_overs(clip, below=False)
        for path in wanted:
            bring_back(path)
            if wanted[path] or path.is_dir():  # what reads a fit draws pictures there too
                remove_left_overs(path if path.is_dir() else path.parent, below=path.is_dir())
        yield


def holds_clip(stage: Callable[[Options], Result]) -> Callable[[Options], Result]:
    """Decorate a stage's function: the clip that its options name is held as read, from before it is opened."""

    @functools.wraps(stage)
    def held(options: Options) -> Result:
        with reading(options.clip, inside=True, wait=options.wait):
            return stage(options)

    return held


@contextlib.contextmanager
def making_clip(clip: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a clip's folder, which need not exist, to make its frames, masks and flow: no other stage is at work in the clip."""
    with writing(clip, inside=True, wait=wait):
        remove_left_overs(clip, below=False)
        yield
