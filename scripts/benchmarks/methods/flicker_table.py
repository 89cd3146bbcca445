"""Deflickering as tables in Markdown: ways beside each other, a row for each disturbance."""

from __future__ import annotations

from typing import Any

from atlas.evaluation.measures import shown

EXPLAINED = """\
dB: peak signal-to-noise ratio to the true edit, of the mean squared error over the whole clip (a mean of the frames' own dB
flatters what flickers unevenly). warp: warp error along the source's flow over the true edit's own; far below 1 is blur.
sharpness: energy of the Laplacian over the true edit's. Disturbances are each frame's own: clean none; gain, hue its exposure
and hue; cloud, boil wide and fine smooth noise; wobble small displacements; all of them. `atlas` is the command's default,
delta with trust and gain; the others leave out both (delta, replace, robust) or the gain (trust)."""


def flicker_table(figures: dict[str, Any]) -> list[str]:
    """Lay out the figures of `bench_flicker`: dB and warp in one table, then sharpness, seconds and memory of each way."""
    rows: dict[str, dict[str, dict[str, float | None]]] = figures["rows"]
    ways = list(next(iter(rows.values())))
    lines = [f"| dB / warp | {' | '.join(ways)} |", "|---|" + "---:|" * len(ways)]
    for disturbance, by_way in rows.items():
        cells = [f"{shown(by_way[way]['psnr'], '.1f')} / {shown(by_way[way]['warp'], '.2f')}" for way in ways]
        lines.append(f"| {disturbance} | {' | '.join(cells)} |")
    lines += ["", f"| over all rows | {' | '.join(ways)} |", "|---|" + "---:|" * len(ways)]
    for name, figure, form, choose in (
        ("sharpness, least", "sharpness", ".2f", min),
        ("sharpness, most", "sharpness", ".2f", max),
        ("seconds, most", "seconds", ".1f", max),
        ("peak MB", "peak_ram_mb", ".0f", max),
    ):
        values = [[one for row in rows.values() if (one := row[way].get(figure)) is not None] for way in ways]
        cells = [shown(choose(those) if those else None, form) for those in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
