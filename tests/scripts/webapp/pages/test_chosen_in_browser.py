"""What was chosen on a page stays, and is shown, while edits come and go beside it; the server fails at nothing on the way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")
pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright: pip install playwright")

from playwright.sync_api import FrameLocator, Page, sync_playwright

from tests.scripts.webapp.pages.browser import ARGUMENTS, app, chromium


def test_what_is_chosen_stays_while_edits_come(sample_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(sample_clip.folder, tmp_path / "root" / "clip")
    clip = Clip.open(tmp_path / "root" / "clip")
    for name in ("one", "two"):
        _edited(clip, name)
    executable = chromium()
    with app(tmp_path / "root") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        failures: list[str] = []
        page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 500 else None)
        page.goto(f"{address}?clip=clip&tab=compare")
        _until(lambda: _compared(page) == "one, two")
        page.locator("#evaluate-compare").get_by_label("two").uncheck()
        _until(lambda: _compared(page) == "one")
        _opened(page, "Edit", "keyframes-edit", "one")
        page.locator('img[src*="/edits/one/"]').first.wait_for()  # the part of the edit before has gone
        page.get_by_label("3", exact=True).first.check()
        painters = [page.frame_locator(f'iframe[title="{title}"]') for title in ("Repaint the keyframe", "Paint on the atlas")]
        _strokes(painters[0])
        page.get_by_role("tab", name="Paint", exact=True).first.click()
        _strokes(painters[1])
        _opened(page, "Render", "render-edit", "one")
        _edited(clip, "zero")
        shutil.copytree(clip.fit_folder("truth"), clip.fit_folder("default"))  # which stands before the others
        for _ in range(3):
            page.evaluate("document.getElementById('again').click()")
        page.get_by_role("tab", name="Compare", exact=True).first.click()
        page.locator("#evaluate-compare").get_by_label("zero").wait_for()
        time.sleep(3)  # what would be lost is lost by then
        assert _compared(page) == "one"
        assert [box.is_checked() for box in page.locator("#evaluate-compare input").all()] == [True, False, False]
        assert page.locator("#keyframes-edit input").input_value() == "one"
        for painter in painters:
            assert painter.locator("body").get_attribute("data-mine") == "yes", "what is being painted was thrown away"
        assert page.locator("#paint-fit input").input_value() == "truth"
        assert page.locator("#render-edit input").input_value() == "one"
        assert "edit=one" in (page.locator('iframe[title="Source and edit"]').get_attribute("src") or "")
        page.goto(f"{address}/panels/filter.html")  # of no clip: there is never a picture to show
        assert not page.locator("#picture").is_visible()
        assert failures == []
        browser.close()


def _edited(clip: Clip, name: str) -> None:
    """An edit of one keyframe, as if it had been made."""
    edit = Edit(clip.edit_folder(name), name, "truth", {"foreground": {"frames": [3]}})
    edit.save()
    edit.keyframes_folder("foreground").mkdir(parents=True)
    shutil.copyfile(clip.frame_path(3), edit.keyframe_path("foreground", 3))


def _strokes(painter: FrameLocator) -> None:
    """Leave something in a painter that is lost where its page is loaded again."""
    painter.locator("body[data-ready]").wait_for()
    painter.locator("body").evaluate("(body) => (body.dataset.mine = 'yes')")


def _compared(page: Page) -> str:
    """Names of the edits of which Compare says that they are not rendered."""
    return ", ".join(text.rpartition(": ")[2] for text in page.get_by_text("Not rendered as mp4").all_inner_texts())


def _opened(page: Page, tab: str, field: str, choice: str) -> None:
    """Open a tab, and choose from its list."""
    page.get_by_role("tab", name=tab, exact=True).first.click()
    page.locator(f"#{field} input").click()
    page.get_by_role("option", name=choice, exact=True).click()


def _until(good: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not good():
        assert time.monotonic() < end
        time.sleep(0.1)
