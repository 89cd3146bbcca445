"""The app in a browser, from an upload to a rendered film, on footage whose truth is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import read_image
from atlas.video.source import open_source
from atlas.video.writing import write_video

pytest.importorskip("gradio", reason="the app needs gradio, fastapi and uvicorn: pip install -e .[ui]")
pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright: pip install playwright")

from playwright.sync_api import FrameLocator, Locator, Page, sync_playwright

from scripts.jobs.job import Job, jobs_of
from tests.scripts.webapp.pages.browser import ARGUMENTS, ROOT, app, chromium

FRAMES, HEIGHT, WIDTH = 8, 136, 240
PATIENCE = 300.0
"""Seconds that a stage may take on a busy machine."""
GREEN = "#00dc00"


@dataclass
class Opened:
    """The app in a page of the browser."""

    page: Page
    root: Path
    address: str

    def panel(self, title: str) -> FrameLocator:
        return self.page.frame_locator(f'iframe[title="{title}"]')

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).first.click()

    def field(self, name: str) -> Locator:
        return self.page.locator(f"#{name} textarea, #{name} input").first

    @property
    def job(self) -> FrameLocator:
        return self.page.frame_locator("#job iframe")

    def ended(self, stage: str) -> str:
        """How the job at hand ended, once it has: its state's name."""
        return self.says(lambda name, _: name.startswith(f"{stage}: ")).partition(": ")[2]

    def done(self, stage: str) -> None:
        """Until a job is done; what another one before it ended with may still be shown."""
        self.says(lambda name, _: name == f"{stage}: done")

    def counts(self, stage: str) -> None:
        """Until the job at hand has counted something."""
        self.says(lambda name, count: name == stage and " of " in count and not count.startswith("0 "))

    def says(self, awaited: Callable[[str, str], bool]) -> str:
        """What the line of jobs names, once its name and count are as awaited."""
        end = time.monotonic() + PATIENCE
        name = count = ""
        while time.monotonic() < end:
            name, count = (self.job.locator(f"#{part}").inner_text() for part in ("name", "count"))
            if awaited(name, count):
                return name
            time.sleep(0.05)
        raise AssertionError(f"the line of jobs says {name!r}, {count!r}")

    @contextmanager
    def held(self) -> Iterator[Job]:
        """The job at work, which waits until this is left: on a busy machine it would be done before a page is loaded."""
        (job,) = (one for one in jobs_of(self.root / "clips" / "walk") if one.state().is_running)
        assert job.process is not None
        os.killpg(job.process.pid, signal.SIGSTOP)
        try:
            yield job
        finally:
            os.killpg(job.process.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def film() -> Sample:
    return make_sample(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=1, seed=0)


@pytest.fixture(scope="module")
def opened(film: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """The app, and its page."""
    folder = tmp_path_factory.mktemp("app")
    write_video(folder / "walk.mp4", film.frames, 24, crf=4)
    (folder / "letter.mp4").write_text("dear film, this is no film")
    executable = chromium()
    with app(folder / "root") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(90_000)
        page.goto(address)
        yield Opened(page, folder / "root", address)
        browser.close()


def test_from_an_upload_to_a_painted_film(opened: Opened, film: Sample) -> None:
    """One test, for each step stands on the one before: workers of pytest would share tests of a module among themselves."""
    _make_a_clip_of_an_upload(opened, film)
    _cancel_a_fit_and_go_on_to_the_same_bytes(opened)
    _paint_and_find_it_in_the_film(opened, film)
    _find_the_paint_saved_to_the_texel(opened)


def _make_a_clip_of_an_upload(opened: Opened, film: Sample) -> None:
    upload = opened.panel("Upload")
    upload.locator("body[data-ready]").wait_for()
    upload.locator("#one").set_input_files(opened.root.parent / "letter.mp4")
    upload.locator("#said.wrong").wait_for()
    assert "letter.mp4" in upload.locator("#said").inner_text()
    upload.locator("#one").set_input_files(opened.root.parent / "walk.mp4")
    look = opened.panel("Point out the object")
    look.locator("body[data-ready]").wait_for()
    view = look.locator("#view")
    shown = view.bounding_box()
    assert shown is not None
    scale = min(shown["width"] / WIDTH, shown["height"] / HEIGHT)
    left, top = (shown["width"] - WIDTH * scale) / 2, (shown["height"] - HEIGHT * scale) / 2
    ys, xs = np.nonzero(film.masks("foreground")[0])
    begin = {"x": left + (xs.min() - 3) * scale, "y": top + (ys.min() - 3) * scale}
    end = {"x": left + (xs.max() + 3) * scale, "y": top + (min(ys.max() + 3, HEIGHT - 1)) * scale}
    view.drag_to(view, source_position=begin, target_position=end)
    look.locator("body[data-looked]").wait_for()
    assert look.locator("#said").get_attribute("class") == "quiet", opened.field("prepare-masks").input_value()
    assert opened.field("prepare-masks").input_value().startswith("box:")
    opened.page.locator("#go-prepare").click()
    opened.done("Making the clip")
    clip = Clip.open(opened.root / "clips" / "walk")
    assert (clip.frames, clip.layers) == (FRAMES, ["foreground", "background"])
    assert "clip=clips%2Fwalk" in opened.page.url


def _cancel_a_fit_and_go_on_to_the_same_bytes(opened: Opened) -> None:
    clip = opened.root / "clips" / "walk"
    opened.tab("Fit")
    opened.page.locator("#fit-preset").get_by_label("preview").check()
    opened.field("fit-seconds").fill("-1")
    opened.page.locator("#go-fit").click()
    problem = opened.page.locator("#fit-seconds + .problem")  # beside the field that it is about
    problem.wait_for()
    assert "--seconds" in problem.inner_text()
    opened.ended("Fit")
    opened.field("fit-seconds").fill("")
    opened.page.locator("#go-fit").click()
    opened.counts("Fit")
    with opened.held() as job:
        opened.page.reload()  # the page knows nothing, the clip's folder does
        opened.counts("Fit")
        opened.job.locator("#cancel").click()
        until((job.folder / "cancelled").exists)
    assert opened.ended("Fit") == "interrupted"
    assert not (clip / "fits" / "default" / "metrics.json").exists()
    opened.tab("Fit")
    opened.page.locator("#fit-preset").get_by_label("preview").check()
    opened.page.locator("#go-fit").click()
    opened.done("Fit")
    command = [
        sys.executable,
        str(ROOT / "scripts" / "fit.py"),
        str(clip),
        "--name",
        "at-once",
        "--preset",
        "preview",
        "--quiet",
    ]
    subprocess.run(command, check=True, capture_output=True)
    for part in ("maps", "layers"):
        once, twice = (clip / "fits" / name / part for name in ("at-once", "default"))
        files = sorted(path.relative_to(once) for path in once.rglob("*") if path.is_file())
        assert files and all((once / name).read_bytes() == (twice / name).read_bytes() for name in files)


def _paint_and_find_it_in_the_film(opened: Opened, film: Sample) -> None:
    index, later = 2, 6
    y, x = seen_in_both(film, index, later)
    opened.tab("Paint")
    painter = opened.panel("Paint on the atlas")
    painter.locator("body[data-shown]").wait_for()
    painter.locator("#index").fill(str(index))
    painter.locator("#colour").fill(GREEN)
    painter.locator("#softness").fill("0")
    painter.locator("#size").fill("20")
    frame = painter.locator("#frame").bounding_box()
    assert frame is not None
    with opened.page.expect_response(lambda answer: "/texel" in answer.url) as answered:
        opened.page.mouse.click(
            frame["x"] + (x + 0.5) / WIDTH * frame["width"], frame["y"] + (y + 0.5) / HEIGHT * frame["height"]
        )
    answered.value.finished()
    time.sleep(0.5)  # the place that was clicked is in the middle now
    stage = painter.locator("#over").bounding_box()
    assert stage is not None
    shown = int(painter.locator("body").get_attribute("data-shown") or 0)
    opened.page.mouse.move(stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2)
    opened.page.mouse.down()
    opened.page.mouse.move(stage["x"] + stage["width"] / 2 + 1, stage["y"] + stage["height"] / 2)
    opened.page.mouse.up()
    painter.locator(f'body:not([data-shown="{shown}"])').wait_for()
    painter.locator("#save").click()
    said = painter.locator("#said")
    until(lambda: said.inner_text() not in ("", "Saving …"))
    assert said.inner_text().startswith("Saved as edit painted"), said.inner_text()
    opened.tab("Render")
    opened.page.locator("#go-render").wait_for()
    time.sleep(3)  # the tab is made anew for the new edit: a click on what goes would be lost
    opened.page.locator("#go-render").click()
    opened.done("Rendering")
    video = open_source(opened.root / "clips" / "walk" / "edits" / "painted" / "video.mp4")
    frames = [frame.astype(int) for frame in video.read(range(FRAMES))]
    row, column = where(film, index, (y, x), later)
    for frame, place in ((frames[index], (y, x)), (frames[later], (row, column))):
        red, green, blue = frame[place]
        assert green > red + 60 and green > blue + 60, f"{place}: {frame[place]}"
    wipe = opened.panel("Source and edit")
    wipe.locator("body[data-ready]").wait_for()


def _find_the_paint_saved_to_the_texel(opened: Opened) -> None:
    opened.tab("Paint")
    painter = opened.panel("Paint on the atlas")
    painter.locator("body[data-ready]").wait_for()
    image = read_image(opened.root / "clips" / "walk" / "edits" / "painted" / "painted" / "foreground.png", mode="rgba")
    colours = image[image[..., 3] == 255]
    assert len(colours) > 100 and (colours == (0, 220, 0, 255)).all()
    assert (image[image[..., 3] == 0] == 0).all()


def until(awaited: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not awaited():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.1)


def seen_in_both(film: Sample, index: int, later: int) -> tuple[int, int]:
    """A pixel of frame `index` that shows the middle of the object, there and in frame `later`."""
    ys, xs = np.nonzero(film.opacities["foreground"][index] > 0.99)
    middle = np.argsort(np.hypot(ys - np.median(ys), xs - np.median(xs)))
    for number in middle:
        place = int(ys[number]), int(xs[number])
        row, column = where(film, index, place, later)
        if film.opacities["foreground"][later][row, column] > 0.99:
            return place
    raise AssertionError("the object is not seen in both frames")


def where(film: Sample, index: int, place: tuple[int, int], later: int) -> tuple[int, int]:
    """Where the truth has in frame `later` what frame `index` shows at a pixel."""
    uv = film.uvs["foreground"]
    apart = np.linalg.norm(uv[later] - uv[index][place], axis=-1)
    row, column = np.unravel_index(apart.argmin(), apart.shape)
    return int(row), int(column)
