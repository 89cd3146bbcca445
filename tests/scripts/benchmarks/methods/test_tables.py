"""The table of methods: a row for each, only columns with numbers, failures in words."""

from __future__ import annotations

from typing import Any

from scripts.benchmarks.methods.tables import methods_markdown, methods_table


def row(method: str, warp: float, **more: Any) -> dict[str, Any]:
    measured: dict[str, Any] = {"warp_error": {"edit": warp, "source": 0.5, "ratio": 2 * warp}}
    measured |= {"changed": 0.0625, "sharpness": {"edit": 0.01, "source": 0.02, "ratio": 0.5}}
    measured |= {"keyframe_overlap": {"foreground": {"edited": 0.25, "source": 0.125}}, "clip_text": None}
    cost = {"edit": {"wall_seconds": 12.34, "peak_ram_mb": 512.4}, "render": {"wall_seconds": 1.0, "peak_ram_mb": None}}
    return {"method": method, "measured": measured | more, "cost": cost}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_columns_and_the_source_beside_them() -> None:
    heads, rule, source, one = methods_table([row("layered", 0.75)])
    assert rule.count("|") == heads.count("|")
    found = dict(zip(cells(heads), cells(one), strict=True))
    assert found["method"] == "layered" and found["warp"] == "1.50" and found["overlap"] == "0.2500"
    assert found["edit s / MB"] == "12.3 / 512" and found["render s / MB"] == "1.0 / -"
    assert found["changed"] == "0.0625" and found["sharpness"] == "0.50"
    unedited = dict(zip(cells(heads), cells(source), strict=True))
    assert (unedited["warp"], unedited["changed"], unedited["sharpness"], unedited["overlap"]) == (
        "1.00",
        "0.0000",
        "1.00",
        "0.1250",
    )
    assert "CLIP-text" not in found and "aggregate s / MB" not in found


def test_weights_that_were_there_have_columns() -> None:
    heads, _, source, one, other = methods_table([row("a", 1, clip_text={"edit": 28.456, "source": 20.0}), row("b", 1)])
    place = cells(heads).index("CLIP-text")
    assert [cells(line)[place] for line in (source, one, other)] == ["20.00", "28.46", "-"]


def test_what_failed_is_said_and_opens_no_cell() -> None:
    lines = methods_table([row("a", 1), {"method": "b", "error": "no | memory <b>"}])
    assert cells(lines[4])[:3] == ["b", "failed", "-"] and lines[4].count("|") == lines[0].count("|")
    assert lines[-1] == r"b: no \| memory &lt;b>"
    only = methods_table([{"method": "b", "error": "x"}])
    assert cells(only[0]) == ["method"] or cells(only[2])[1] == "failed"


def test_the_section_of_a_bench() -> None:
    figures = {"clip": "swan", "layer": "foreground", "prompt": "a cat", "methods": [row("fixed", 1)]}
    rows = [
        {"part": "render", "clip": "swan", "figures": {}},
        {"part": "method-fixed", "clip": "swan", "fit": "default", "figures": figures},
        {"part": "method-rave", "clip": "swan", "fit": "default", "error": "out of memory"},
    ]
    lines = methods_markdown(rows)
    assert "## Methods: swan" in lines and 'foreground: "a cat", fit default.' in lines
    assert any(cells(line)[:2] == ["fixed", "2.00"] for line in lines) and lines[-1] == "rave: out of memory"
    assert methods_markdown(rows[:1]) == []
    assert any("failed" in line for line in methods_markdown(rows[2:]))
