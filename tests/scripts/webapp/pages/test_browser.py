"""Where tests find Chromium, and when they may install it: an apt that fails or hangs skips them, and says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scripts.webapp.pages import browser

pytestmark = pytest.mark.skipif(os.name == "nt", reason="apt and its stand-in are for POSIX")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get of our own, on a PATH where nothing else is; the tests write what it does."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(browser.MAY_INSTALL, "1")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "apt-get"


def _does(apt: Path, script: str) -> None:
    apt.write_text(f"#!/bin/sh\n{script}\n")
    apt.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "reason"), [("echo no network >&2; exit 100", "no network"), ("exec /bin/sleep 60", "timed out")]
)
def test_an_apt_that_fails_or_hangs_skips(apt: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    monkeypatch.setattr(browser, "PATIENCE", 0.5)
    _does(apt, script)
    with pytest.raises(pytest.skip.Exception, match=reason):
        browser.chromium()


def test_what_apt_installs_is_found(apt: Path) -> None:
    made = apt.with_name("chromium")
    _does(apt, f'case "$*" in *"install -y"*) echo > {made}; /bin/chmod +x {made};; esac')
    assert browser.chromium() == str(made)


def test_nothing_is_installed_unless_it_is_allowed(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(browser.MAY_INSTALL)
    _does(apt, f"echo > {apt.with_name('called')}")
    with pytest.raises(pytest.skip.Exception, match="apt install chromium"):
        browser.chromium()
    assert not apt.with_name("called").exists()


def test_the_command_of_ci_allows_it_and_the_tests_alone_do_not() -> None:
    assert f"export {browser.MAY_INSTALL}=1" in (browser.ROOT / ".ci" / "run").read_text()
    assert browser.MAY_INSTALL not in (browser.ROOT / "scripts" / "test.py").read_text()
