"""A browser for tests: Chromium without a window, driven by playwright, and the app as its own process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
MAY_INSTALL = "LAYERED_ATLAS_INSTALL"
"""Set by .ci/run: a machine of its own, where tests may install what they need."""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE = 300.0
"""Seconds that apt may take for each of its two commands."""
_SOON = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "DPkg::Lock::Timeout=60")
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The path of Chromium; the test that asks is skipped where there is none and none may be installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get(MAY_INSTALL) and shutil.which("apt-get") and os.geteuid() == 0:
        reason = _install()
        found = shutil.which("chromium")
        if found is None:
            pytest.skip(f"there is no Chromium, and apt cannot install it: {reason}")
    if found is None:
        pytest.skip("there is no Chromium: apt install chromium")
    return found


def _install() -> str:
    """Install Chromium by apt; what went wrong, "" where nothing did. Without a network it gives up soon."""
    reason = ""
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        try:
            done = subprocess.run(
                ["apt-get", *_SOON, *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            return str(problem)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split())[-300:] or f"status {done.returncode}"
    return reason


@contextmanager
def app(root: Path) -> Iterator[str]:
    """The app of a root folder while it runs; its address. It is stopped as Ctrl-C stops it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (root.parent / "app.log").open("wb") as log:
        command = [sys.executable, str(ROOT / "scripts" / "app.py"), str(root), "--port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + 180
            while not _answers(address):
                assert process.poll() is None and time.monotonic() < end, (root.parent / "app.log").read_text()
                time.sleep(0.2)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
