"""Tables of a sweep: sweep.csv (a row each), sweep.json (the same, and why), sweep.md (means over seeds, the best marked)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from atlas.storage.atomic import atomic_file
from atlas.storage.stamps import write_json
from atlas.system.terminal import in_markdown
from scripts.sweeps.figures import FIGURES

SEEDS = ("seed", "fit_seed")
"""Axes that are averaged over."""
_COSTS = {"cpu_seconds": "CPU s", "peak_mb": "MB"}


def write_tables(folder: Path, axes: Sequence[str], results: Sequence[dict[str, Any]]) -> None:
    """Write sweep.csv, sweep.json and sweep.md. results: of each row axes, the edit or fit made, status, line and figures."""
    with atomic_file(folder / "sweep.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*axes, "made", "status", *FIGURES, *_COSTS])
        for row in results:
            cells = (row["figures"].get(key) for key in (*FIGURES, *_COSTS))
            writer.writerow(
                [*row["axes"].values(), row["made"], row["status"], *("" if cell is None else cell for cell in cells)]
            )
    write_json(folder / "sweep.json", {"axes": list(axes), "rows": list(results)})
    with atomic_file(folder / "sweep.md") as temporary:
        temporary.write_text("\n".join(markdown(axes, results)) + "\n", encoding="utf-8", errors="backslashreplace")


def markdown(axes: Sequence[str], results: Sequence[dict[str, Any]]) -> list[str]:
    """Lay out means and deviations over seeds; in bold the best of each clip, where one way is better."""
    groups = grouped(results)
    varied = [name for name in axes if name not in SEEDS and len({row["axes"][name] for row in results}) > 1]
    columns = [key for key in (*FIGURES, *_COSTS) if any(group.means.get(key) is not None for group in groups)]
    lines = [_line([*varied, *columns]), _line(["---"] * len(varied) + ["---:"] * len(columns))]
    for group in groups:
        cells = [in_markdown(group.axes[name]) for name in varied]
        lines.append(_line([*cells, *(_cell(group, key, groups) for key in columns)]))
    fixed = [f"{name} {in_markdown(results[0]['axes'][name])}" for name in axes if name not in varied and name not in SEEDS]
    counts = {len(group.rows) for group in groups}
    lines += ["", "; ".join(fixed)] * bool(fixed)
    lines += ["", f"Mean over {max(counts)} seeds, and their standard deviation."] * (counts != {1})
    lines += ["", *(f"- {key}: {FIGURES[key].title}{_way(key)}" for key in columns if key in FIGURES)]
    failed = [row for row in results if row["status"] != "done"]
    lines += [""] * bool(failed)
    lines += [
        f"- not done: {in_markdown(', '.join(row['axes'].values()))}: {in_markdown(row['line'] or row['status'])}"
        for row in failed
    ]
    return lines


class Group:
    """Rows that differ in seeds alone."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows
        self.axes: dict[str, str] = {name: label for name, label in rows[0]["axes"].items() if name not in SEEDS}
        self.means: dict[str, float] = {}
        self.deviations: dict[str, float] = {}
        for key in (*FIGURES, *_COSTS):
            values = [row["figures"][key] for row in rows if row["figures"].get(key) is not None]
            if values:
                self.means[key] = fmean(values)
            if len(values) > 1:
                self.deviations[key] = stdev(values)


def grouped(results: Sequence[dict[str, Any]]) -> list[Group]:
    """Rows by all axes but the seeds, in the order in which they come."""
    rows_by_labels: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in results:
        rows_by_labels.setdefault(tuple(label for name, label in row["axes"].items() if name not in SEEDS), []).append(row)
    return [Group(rows) for rows in rows_by_labels.values()]


def _cell(group: Group, key: str, groups: Sequence[Group]) -> str:
    if key not in group.means:
        return "-"
    form = FIGURES[key].form if key in FIGURES else ".1f"
    text = f"{group.means[key]:{form}}"
    if key in group.deviations:
        text += f" ± {group.deviations[key]:{form}}"
    return f"**{text}**" if _is_best(group, key, groups) else text


def _is_best(group: Group, key: str, groups: Sequence[Group]) -> bool:
    better = FIGURES[key].better if key in FIGURES else ""
    of_clip = [other.means[key] for other in groups if key in other.means and other.axes["clip"] == group.axes["clip"]]
    if not better or len(of_clip) < 2 or min(of_clip) == max(of_clip):
        return False
    return group.means[key] == (min(of_clip) if better == "lower" else max(of_clip))


def _way(key: str) -> str:
    return f" ({FIGURES[key].better} is better)" if FIGURES[key].better else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
