"""Two tabs at one clip: each shows what the other started, the second does not fight for it, and either may cancel."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from atlas.clip.clip import Clip

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")
pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright: pip install playwright")

from playwright.sync_api import Page, sync_playwright

from tests.scripts.webapp.pages.browser import ARGUMENTS, app, chromium

PATIENCE = 180.0
"""Seconds that a stage may take on a busy machine."""


def test_two_tabs_share_a_clip(sample_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(sample_clip.folder, tmp_path / "root" / "clip")
    executable = chromium()
    with app(tmp_path / "root") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        one, two = (browser.new_page(viewport={"width": 1280, "height": 800}) for _ in range(2))
        for page in (one, two):
            page.set_default_timeout(60_000)
            page.goto(f"{address}?clip=clip&tab=fit")
            page.locator("#go-fit").wait_for()
        one.locator("#go-fit").click()  # a standard fit, which goes on for a while
        for page in (one, two):
            assert _awaited(page, "Fit") == "Fit"
        _awaits_count(two)
        two.locator("#fit-preset").get_by_label("preview").check()
        two.locator("#go-fit").click()
        problem = two.locator("#go-fit + .problem, .problem").first
        problem.wait_for()
        assert "at work" in problem.inner_text(), problem.inner_text()
        assert one.locator(".problem").count() == 0, "the line is about what the other window asked for"
        assert _awaited(one, "Fit") == "Fit", "the fit that was there first goes on"
        two.frame_locator("#job iframe").locator("#cancel").click()
        for page in (one, two):
            assert _awaited(page, "Fit: interrupted") == "Fit: interrupted"
        browser.close()


def _job(page: Page) -> str:
    return page.frame_locator("#job iframe").locator("#name").inner_text()


def _awaited(page: Page, name: str) -> str:
    """What the page says is at work, once it says so, or at last."""
    end = time.monotonic() + PATIENCE
    while _job(page) != name and time.monotonic() < end:
        time.sleep(0.1)
    return _job(page)


def _awaits_count(page: Page) -> None:
    """Until the job counts, and so holds the clip."""
    end = time.monotonic() + PATIENCE
    while " of " not in page.frame_locator("#job iframe").locator("#count").inner_text():
        assert time.monotonic() < end
        time.sleep(0.1)
