"""Page of a batch: index.html shows every edit's sheet, film and figures, and what failed; it reads nothing from elsewhere."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from atlas.errors import UserError
from atlas.evaluation.measures import edit_measures, fit_measures
from atlas.storage.atomic import atomic_file
from atlas.storage.stamps import read_json
from atlas.system.terminal import visible
from atlas.video.writing import FORMATS
from scripts.batches.table import Row, status_word, summary
from scripts.plans.plan import Task
from scripts.plans.state import State

PAGE = "index.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
body { color: #222; background: #fff }
h1, h2, h3 { font-weight: 600 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #8884 }
article { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1rem 1.5rem; margin: 1.5rem 0 2.5rem }
article h3, article p { grid-column: 1 / -1; margin: 0 }
img, video { max-width: 100%; display: block; margin-bottom: .6rem; background: #8882 }
table { border-collapse: collapse; font-size: 13px } td { padding: .15rem .8rem .15rem 0; vertical-align: top }
td + td { font-variant-numeric: tabular-nums }
.failed { color: #b3261e } .quiet { color: #777 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } .failed { color: #f2b8b5 } }
@media (max-width: 50rem) { article { grid-template-columns: minmax(0, 1fr) } }
"""
_FILMS = {form.suffix for form in FORMATS.values()}


def write_page(title: str, rows: Sequence[Row], state: State) -> Path:
    """Write index.html into the plan's folder; returns its path. The same results give the same bytes."""
    path = state.folder / PAGE
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_page(title, rows, state)) + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _page(title: str, rows: Sequence[Row], state: State) -> Iterator[str]:
    done = sum(summary(row.tasks, state) == "done" for row in rows)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
    yield '<meta name=viewport content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style><h1>{_text(title)}</h1>"
    yield f"<p>{len(rows)} edits, {done} done</p>"
    for clip, of_clip in groupby(rows, key=lambda row: row.clip):
        yield f"<h2>{_text(clip)}</h2>"
        for row in of_clip:
            yield from _article(row, state)


def _article(row: Row, state: State) -> Iterator[str]:
    word = summary(row.tasks, state)
    yield f"<article><h3>{_text(row.edit)}</h3>"
    for task in row.tasks:
        record = state.of(task.id)
        if record.state in ("failed", "cancelled"):
            yield f"<p class=failed>{_text(task.title)} ({_text(status_word(record))}): {_text(record.line)}</p>"
    if word not in ("done", "cancelled") and not any(state.of(task.id).state == "failed" for task in row.tasks):
        yield f"<p class=quiet>{_text(word)}</p>"
    yield "<div>"
    for path in _shown(row, state):
        link = quote(Path(os.path.relpath(path, state.folder)).as_posix())
        if path.suffix in _FILMS:
            yield f'<video controls muted loop preload=metadata src="{link}"></video>'
        elif path.is_dir():
            yield f'<p><a href="{link}/">{_text(path.name)}</a></p>'
        else:
            yield f'<a href="{link}"><img loading=lazy src="{link}" alt="{_text(row.edit)}, frames"></a>'
    yield "</div><div>"
    yield from _figures(row, state)
    yield "</div></article>"


def _shown(row: Row, state: State) -> list[Path]:
    """What rendering left, as far as it is done."""
    done = [task for task in row.of("render") if state.of(task.id).state == "done"]
    return [path for task in done for path in map(Path, task.makes) if path.exists()]


def _figures(row: Row, state: State) -> Iterator[str]:
    figures = figures_of(row.of("evaluate"), state)
    measures = edit_measures(figures["edit"]) if figures.get("edit") else []
    measures += fit_measures(figures["reconstruction"]) if figures.get("reconstruction") else []
    if measures:
        cells = (f"<tr><td>{_text(one.name)}<td>{_text(one.value)}" for one in measures)
        yield f"<table>{''.join(cells)}</table>"


def figures_of(tasks: Sequence[Task], state: State) -> dict[str, Any]:
    """What evaluating printed, as JSON; {} where it is not done, or its file is none of JSON."""
    for task in tasks:
        if state.of(task.id).state == "done":
            try:
                figures = read_json(state.result_path(task), finite=False)
            except UserError:
                return {}
            return figures if isinstance(figures, dict) else {}
    return {}


def _text(text: str) -> str:
    return html.escape(visible(text))
