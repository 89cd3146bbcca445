"""Traces that a command leaves in its process: what can be put back is, and what cannot keeps the process from going on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch

import atlas.system.parallel  # noqa: F401  # which may set OpenCV's threads: that is part of the first state
from atlas.storage.lease.lease import holds_any

_MOST_FILES = 256  # that may be open: what is left open by each command would become too many
_LASTING = ("leases", "TMonitor")  # threads that wait beside every command: of leases, and of progress bars
_PATIENCE = 5.0  # seconds that a killed program has to end


class Traces:
    """The state of a process that has run no command yet, but has loaded what most of them do."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._folder, self._path, self._hook = Path.cwd(), list(sys.path), sys.excepthook
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self._numpy = np.geterr(), np.get_printoptions()
        self._torch = _torch_state()
        self._cv2_threads = cv2.getNumThreads()
        self._files = _open_files()
        self._programs_left = False

    @contextlib.contextmanager
    def removed(self) -> Iterator[None]:
        """Put back, after the block, all that a command may change of its process, as if it had never run."""
        with warnings.catch_warnings():  # what was warned of once is warned of again
            try:
                yield
            finally:
                self._end_what_it_started()
                self._put_back()

    def tidy(self, *, keep_weights: bool) -> None:
        """Give memory back to the system."""
        if not keep_weights:
            let_weights_go()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # glibc, on Linux, keeps what was freed
            if sys.platform == "linux":
                ctypes.CDLL(None).malloc_trim(0)

    def are_gone(self) -> bool:
        """Whether nothing is left of a command that cannot be put back: leases, threads, programs, open files."""
        threads = [one for one in threading.enumerate() if one is not threading.main_thread()]
        lasting = all(one.name in _LASTING or type(one).__name__ in _LASTING for one in threads)
        return lasting and not self._programs_left and not holds_any() and _open_files() <= self._files + _MOST_FILES

    def _end_what_it_started(self) -> None:
        """As the end of a process does: wait for threads, and kill programs that still run."""
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        programs = _programs()
        for program in programs:
            with contextlib.suppress(psutil.Error):
                program.kill()
        psutil.wait_procs(programs, _PATIENCE)
        self._programs_left |= bool(programs)

    def _put_back(self) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.chdir(self._folder)
        for name in os.environ.keys() - self._environment.keys():
            del os.environ[name]
        os.environ.update(self._environment)
        sys.path[:], sys.excepthook = self._path, self._hook
        sys.stdin, sys.stdout, sys.stderr = self._streams
        np.seterr(**self._numpy[0])
        np.set_printoptions(**self._numpy[1])
        # Those of a new process are drawn from the system, but for OpenCV's.
        random.seed()
        np.random.seed()
        torch.seed()
        cv2.setRNGSeed(0)
        if cv2.getNumThreads() != self._cv2_threads:
            cv2.setNumThreads(self._cv2_threads)
        _set_torch_state(self._torch)


def let_weights_go() -> None:
    """Forget what was loaded for prompts, if anything was."""
    if loaded := sys.modules.get("edit.diffusion.weights"):
        loaded.let_go()
        gc.collect()
        if uses_gpu():
            torch.cuda.empty_cache()


def start_weights_anew() -> None:
    """Keep what was loaded for prompts, as it was when it was loaded."""
    if loaded := sys.modules.get("edit.diffusion.weights"):
        loaded.start_anew()


def uses_gpu() -> bool:
    """Whether this process holds memory of a GPU."""
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def _programs() -> list[psutil.Process]:
    """What this process has started and still runs: its children, and on POSIX all of its group."""
    own, programs = os.getpid(), {child.pid: child for child in psutil.Process().children(recursive=True)}
    if sys.platform != "win32" and os.getpgrp() == own:
        for pid in psutil.pids():
            with contextlib.suppress(OSError, psutil.Error):
                if pid != own and pid not in programs and os.getpgid(pid) == own:
                    programs[pid] = psutil.Process(pid)
    return [one for one in programs.values() if _runs(one)]


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _open_files() -> int:
    process = psutil.Process()
    return int(process.num_handles() if sys.platform == "win32" else process.num_fds())


def _torch_state() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
    }


def _set_torch_state(state: dict[str, Any]) -> None:
    """Set what has changed: setting the threads of a process that has them already would change how MKL divides its work."""
    now = _torch_state()
    if now["threads"] != state["threads"]:
        torch.set_num_threads(state["threads"])
    torch.set_default_dtype(state["dtype"])
    torch.set_grad_enabled(state["grad"])
    only, warn = state["deterministic"]
    torch.use_deterministic_algorithms(only, warn_only=warn)
    if now["precision"] != state["precision"]:
        torch.set_float32_matmul_precision(state["precision"])
    if now["cudnn"] != state["cudnn"]:
        torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = state["cudnn"]
