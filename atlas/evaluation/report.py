"""HTML report of an edit, and the comparison of several edits: one self-contained file each."""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atlas.clip.at_work import at_work, holds_clip
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.catalogue import COST
from atlas.evaluation.comparison import Comparison, compare
from atlas.evaluation.costs import cost_by_stage
from atlas.evaluation.edit import measure_edit
from atlas.evaluation.learned import Learned
from atlas.evaluation.measures import (
    Measure,
    cells_of,
    edit_measures,
    fit_measures,
    machine_of,
    networks_used,
    points_measures,
    reasons,
)
from atlas.evaluation.stage import EvaluateOptions, evaluate, opened
from atlas.evaluation.table import table
from atlas.maps.maps import Maps
from atlas.quality.summary import PLOT
from atlas.recolour.reach import beneath
from atlas.rendering.frames import Rendering
from atlas.storage.atomic import atomic_file
from atlas.storage.images import read_image, to_uint8
from atlas.system.cost import read_costs
from atlas.system.decoration import decoration
from atlas.system.progress import Progress
from atlas.system.terminal import visible
from atlas.video.sheet import contact_sheet, even, spread, thumbnail
from atlas.video.writing import write_video

REPORT, COMPARISON = "report.html", "comparison.html"
_FILM = 640  # pixels of the longer side of each of the two pictures in the film
_STILLS = 4
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1320px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
video, img { max-width: 100%; display: block; background: #181818 }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .3em 1em .3em 0 }
tr + tr td { border-top: 1px solid #ddd } td + td { white-space: nowrap } td:last-child { white-space: normal; color: #666 }
table.plain td { color: inherit } .weak { color: #a04000 }
"""


@holds_clip
def printed(options: EvaluateOptions) -> dict[str, Any] | str:
    """Evaluate and make what scripts/evaluate.py prints: JSON or a table, and where the report is if one was asked for."""
    clip = Clip.open(options.clip)
    edits = [name for name in (options.edit, *options.compare) if name is not None]
    with at_work(clip.folder, reads=map(clip.edit_folder, edits), wait=options.wait):
        fits = {Edit.open(clip, name).fit for name in edits if clip.edit_folder(name).is_dir()}
        with at_work(clip.folder, reads=map(clip.fit_folder, fits), wait=options.wait):
            return _printed(options)


def _printed(options: EvaluateOptions) -> dict[str, Any] | str:
    if options.compare:
        return _compared(options)
    if options.report and options.edit is None:
        raise UserError("--report is the report of an edit: name it with --edit")
    measured = evaluate(options)
    if options.report:
        with decoration(REPORT):
            measured["report"] = str(write_report(options, measured))
    text = table(measured) + (f"\n\nreport: {measured['report']}" if "report" in measured else "")
    return measured if options.json else text


def write_report(options: EvaluateOptions, measured: dict[str, Any]) -> Path:
    """Write report.html beside the edit that `evaluate` found the numbers of; returns its path."""
    assert options.edit is not None
    rendering = opened(options, options.edit)
    clip, edit = rendering.clip, rendering.edit
    film, sheet = _pictures(rendering, quiet=options.quiet)
    parts = [
        _film(film, "Source left, result right."),
        _section("Frames", "Source above, result below.", _image(sheet)),
        _section("The edit", networks_used(measured["edit"]), _numbers(edit_measures(measured["edit"]))),
    ]
    if reached := rendering.reached():
        stills = {index: clip.frame(index) for index in spread(clip.frames, _STILLS)}
        pictures = beneath([reach.picture(stills, 480) for reach in reached])
        parts.append(_section("How far it reaches", "What becomes of each layer's pixels, by their tint.", _image(pictures)))
    if rendering.layers and rendering.maps:
        atlases = _image(_atlases(rendering, rendering.maps))
        parts.append(_section("Atlases", "Of each edited layer: as the fit has it, and edited.", atlases))
    if measured["fit"]:
        measures = fit_measures(measured["reconstruction"])
        measures += points_measures(measured["points"]) if "points" in measured else []
        numbers = _numbers(measures) + _weak(measured)
        parts.append(_section("The fit it stands on", f"Fit {measured['fit']}.", numbers))
    if rendering.maps and (plot := rendering.maps.folder / PLOT).is_file():
        parts.append(_section("The fit, frame by frame", "", _image(read_image(plot, mode="rgb"))))
    parts.append(
        _section("What was asked for", "", _rows([[k, str(v)] for layer in edit.layers for k, v in _request(edit, layer)]))
    )
    parts.append(_section("What it cost", "", _rows(_costs(measured["cost"]))))
    parts.append(_section("Not measured", "", _rows(reasons(measured.get("absent", {})))))
    size = f"{clip.frames} frames of {clip.width}x{clip.height}, {clip.fps:g} a second"
    return _write(edit.folder / REPORT, f"{clip.name}: {edit.name}", size, parts)


def _compared(options: EvaluateOptions) -> dict[str, Any] | str:
    """Compare several edits of a clip in one table."""
    if options.edit is not None:
        raise UserError("--compare names all edits: leave out --edit")
    if options.points is not None:
        raise UserError("--points are of a fit, and --compare is of edits: leave one of them out")
    if len(set(options.compare)) < 2:
        raise UserError("--compare needs at least two edits: name them, as in --compare red blue")
    renderings = [
        opened(options, name) for name in dict.fromkeys(options.compare)
    ]  # all are checked before the first is measured
    learned, clip = Learned.open(options), renderings[0].clip
    results = {rendering.edit.name: measure_edit(rendering, learned, quiet=options.quiet) for rendering in renderings}
    spent = read_costs(clip.folder)
    costs = {rendering.edit.name: cost_by_stage(spent, rendering.edit) for rendering in renderings}
    compared = compare([rendering.edit for rendering in renderings], results, costs)
    figures = {name: measured | {"cost": costs[name]} for name, measured in results.items()}
    printed_result: dict[str, Any] = {"clip": clip.name, "edits": figures}
    text = compared.text()
    if options.report:
        with decoration(COMPARISON):
            path = _write_comparison(options, renderings, compared)
            printed_result["report"] = str(path)
            text += f"\n\nreport: {path}"
    return printed_result if options.json else text


def _write_comparison(options: EvaluateOptions, renderings: list[Rendering], compared: Comparison) -> Path:
    clip = renderings[0].clip
    header = ["", *compared.edits, "how to read it"]
    body = [[row.name, *row.values, row.reading] for row in compared.rows]
    notes = "".join(f"<p>{_escaped(note)}</p>" for note in compared.notes)
    parts = [_section("Numbers", "", _rows(body, header) + notes)]
    for rendering in renderings:
        film, sheet = _pictures(rendering, quiet=options.quiet)
        parts += [_section(rendering.edit.name, _fit_of(rendering), _film(film, "") + _image(sheet))]
    title = f"{clip.name}: {', '.join(compared.edits)}"
    return _write(clip.folder / "edits" / COMPARISON, title, f"{clip.frames} frames", parts)


def _fit_of(rendering: Rendering) -> str:
    return f"Fit {rendering.edit.fit}." if rendering.maps else "Whole frames, edited without a fit."


def _pictures(rendering: Rendering, *, quiet: bool) -> tuple[bytes, np.ndarray]:
    """Render a small film of source and result side by side, and a contact sheet of a few frames."""
    clip, columns = rendering.clip, []
    wanted = spread(clip.frames, _STILLS)

    def pairs() -> Iterator[np.ndarray]:
        title = visible(f"report {rendering.edit.name}")
        frames = Progress(rendering.frames(), total=clip.frames, desc=title, unit="frame", quiet=quiet)
        for index, (source, result) in enumerate(frames):
            if index in wanted:
                columns.append((f"frame {index}", [thumbnail(source, 480), thumbnail(result, 480)]))
            yield even(np.concatenate([thumbnail(source, _FILM), thumbnail(result, _FILM)], 1))

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "film.mp4"
        write_video(path, pairs(), clip.fps, colour=clip.source.colour, crf=21)
        return path.read_bytes(), contact_sheet(columns)


def _atlases(rendering: Rendering, maps: Maps) -> np.ndarray:
    """Draw each edited layer's atlas, original and edited, on dark ground."""
    columns = []
    for layer, pair in rendering.layers.items():
        atlas = maps.atlas(layer)
        top = np.iinfo(pair.edited.dtype).max
        share = pair.edited[..., 3:].astype(np.float32) / top
        edited_colours = atlas[..., :3] + share * (pair.edited[..., :3].astype(np.float32) / top - atlas[..., :3])
        seen = atlas[..., 3:]
        both = [thumbnail(to_uint8(image * seen + 0.1 * (1 - seen)), 560) for image in (atlas[..., :3], edited_colours)]
        columns.append((layer, both))
    height, width = (max(images[0].shape[axis] for _, images in columns) for axis in (0, 1))
    padded = [
        (layer, [np.pad(i, ((0, height - i.shape[0]), (0, width - i.shape[1]), (0, 0)), constant_values=24) for i in images])
        for layer, images in columns
    ]
    return contact_sheet(padded)


def _request(edit: Any, layer: str) -> list[tuple[str, Any]]:
    return [(f"{layer}: {name}", value) for name, value in edit.layers[layer].items()]


def _costs(costs: dict[str, dict[str, Any]]) -> list[list[str]]:
    rows = []
    for stage, cost in costs.items():
        wall, cpu, ram, vram = cells_of(cost, COST)
        memory = f"{ram} MB" + ("" if vram == "-" else f", {vram} MB of GPU memory")
        rows.append([stage, f"{wall} s", f"{cpu} s of CPU", memory, machine_of(cost)])
    return rows


def _weak(measured: dict[str, Any]) -> str:
    sentences = [f"{weakness['sentence']}; {weakness['advice']}" for weakness in measured.get("weaknesses", [])]
    return "".join(f'<p class="weak">{_escaped(sentence)}</p>' for sentence in sentences)


# HTML


def _write(path: Path, title: str, size: str, parts: list[str]) -> Path:
    head = f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{_escaped(title)}</title><style>{_STYLE}</style>\n'
    body = f"<h1>{_escaped(title)}</h1><p>{_escaped(size)}</p>\n" + "\n".join(part for part in parts if part)
    with atomic_file(path) as temporary:
        temporary.write_text(head + body + "\n</html>\n", encoding="utf-8")
    return path


def _escaped(text: str) -> str:
    """Text of whatever origin as text of a page: no mark-up, and no characters that a page may not hold."""
    return html.escape(visible(text))


def _section(title: str, caption: str, content: str) -> str:
    if not content:
        return ""
    return f"<h2>{_escaped(title)}</h2>" + (f"<p>{_escaped(caption)}</p>" if caption else "") + content


def _film(data: bytes, caption: str) -> str:
    source = "data:video/mp4;base64," + base64.b64encode(data).decode("ascii")
    return f'<video controls loop muted playsinline src="{source}"></video>' + (
        f"<p>{_escaped(caption)}</p>" if caption else ""
    )


def _image(image: np.ndarray) -> str:  # (H, W, 3) uint8
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode("ascii")}">'


def _numbers(rows: Sequence[Measure]) -> str:
    return _rows([[row.name, row.value, row.reading] for row in rows], plain=False)


def _rows(rows: Sequence[Sequence[str]], header: Sequence[str] = (), *, plain: bool = True) -> str:
    if not rows:
        return ""
    first = "<tr>" + "".join(f"<th>{_escaped(cell)}</th>" for cell in header) + "</tr>" if header else ""
    cells = ["<tr>" + "".join(f"<td>{_escaped(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table{' class=plain' if plain and not header else ''}>" + first + "".join(cells) + "</table>"
