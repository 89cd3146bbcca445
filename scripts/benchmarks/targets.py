"""The parts of bench.md about edits, marked points and flicker: each figure beside the target that it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from atlas.evaluation.measures import worst_of
from atlas.system.terminal import in_markdown
from scripts.benchmarks.methods.flicker_table import EXPLAINED, flicker_table

SPLAT_TIMES = 100.0
MERGE_MARGIN_DB, MERGE_CLEAN_DB, MERGE_SECONDS = 1.5, 38.0, 20.0
ORACLE_DB, ORACLE_TRUTH_DB = {"orange": 45.0, "invert": 45.0, "hue": 38.0, "paint": 34.0}, 43.3
POINTS_D_AVG, POINTS_WORST = 85.0, 5.0
RENDER_RATE, FIRST_FRAME_SECONDS, RENDER_MB, SHIMMER = 60.0, 1.0, 2048.0, 1.2
"""The targets, for two cores without a GPU."""
CLEAN_DB = {"atlas": 40.0, "patches": 31.0}
GAINED_DB = {
    "atlas": {"gain": 5.0, "cloud": 5.0, "boil": 5.0, "wobble": 3.5, "all": 5.0},
    "patches": {"cloud": 2.5, "boil": 2.5, "wobble": 2.5, "all": 2.5},
    "prior": {"gain": 1.0, "cloud": 4.0},
}
ATLAS_ABOVE_DB = 1.0
"""Targets of deflickering, on the sample at 12 frames of 240x136: a clean edit, what is gained over what was given, and by how
much the atlas is better than patches and flow in every row."""
WARP = {"gain": (0.85, 1.2), "cloud": (0.85, 1.3), "boil": (0.85, 1.3), "all": (0.6, 1.4)}
"""Warp error that the atlas is to leave, over the true edit's own: below it is blurred, above it flickers."""
_PUBLISHED = "zero-filled median"


@dataclass(frozen=True)
class Figure:
    """A line of a table."""

    name: str
    value: float | None
    form: str = ".2f"
    unit: str = ""
    target: float | None = None
    bound: Literal["at least", "at most"] = "at least"
    note: str = ""
    """Stands behind the target."""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none, or no figure."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.bound == "at least" else self.value <= self.target

    def cells(self) -> list[str]:
        """What it is, the figure, its target, and whether that is met."""
        unit = f" {self.unit}" * bool(self.unit)
        value = "-" if self.value is None else f"{self.value:{self.form}}{unit}"
        target = "-" if self.target is None else f"{self.bound} {self.target:g}{unit}{self.note}"
        return [self.name, value, target, {None: "-", True: "yes", False: "**no**"}[self.met]]


def edits_markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Sections of the report: what each table means in a line, then the table. Of flicker all figures come first."""
    lines: list[str] = []
    for title, parts, meaning, figures in (
        ("Keyframes into the atlas", ("splat",), _SPLAT, _splat),
        ("Keyframes merged", ("aggregate",), _AGGREGATE, _aggregate),
        ("Edits whose right answer is known", _ORACLES, _ORACLE, _oracle),
        ("Marked points", ("points",), _POINTS, _points),
        ("Rendering", ("render",), _RENDER, _render),
        ("Shimmer", ("shimmer",), _SHIMMER, _shimmer),
        ("Flicker", ("flicker", "flicker-clip"), EXPLAINED, _flicker),
    ):
        of_it = [row for row in rows if row["part"] in parts]
        if not of_it:
            continue
        lines += [f"## {title}", "", meaning, ""]
        for row in of_it:
            if "rows" in row.get("figures", {}):
                lines += [_size_of(row), "", *flicker_table(row["figures"]), ""]
        lines += ["| figure | measured | target | met |", "|---|---:|---:|---|"]
        for row in of_it:
            if "figures" in row:
                lines += [f"| {' | '.join(map(in_markdown, figure.cells()))} |" for figure in figures(row)]
            else:
                lines.append(f"| {_of(row)}{row['part']} | failed | - | - |")
        loads = [f"{_of(row)}{row['part']} {row['load']:.2f}" for row in of_it if row.get("load") is not None]
        lines += ["", f"Load before: {'; '.join(loads)}.", ""] if loads else [""]
        for row in of_it:
            lines += [f"{_of(row)}{row['part']}: {in_markdown(row['error'])}", ""] if "error" in row else []
    return lines[:-1]


def _of(row: dict[str, Any]) -> str:
    return f"`{in_markdown(row['clip'])}` " if row["clip"] else ""


_SPLAT = """\
A frame of the sample's background into its atlas, against SciPy's `griddata` for each channel on the same points; seconds of
the fastest run of several in turns, `griddata` on one core. The partial atlas has coverage and soft edges as
well; dB against the true atlas, where both know it."""


def _splat(row: dict[str, Any]) -> list[Figure]:
    measured = row["figures"]
    whole, theirs = measured["griddata_seconds"] / measured["seconds_with_edges"], measured["griddata_psnr"]
    return [
        Figure("partial atlas: times faster", whole, ".0f", target=SPLAT_TIMES),
        Figure("partial atlas: seconds", measured["seconds_with_edges"], ".3f", "s"),
        Figure("partial atlas: to the true atlas", measured["psnr_with_edges"], unit="dB", target=round(theirs, 2)),
        Figure("its look-up alone: times faster", measured["times_faster"], ".0f"),
        Figure("its look-up alone: to the true atlas", measured["psnr"], unit="dB"),
        Figure("`griddata`: seconds", measured["griddata_seconds"], unit="s"),
        Figure("`griddata`: to the true atlas", theirs, unit="dB"),
    ]


_AGGREGATE = """\
Keyframes of the sample through its true maps, merged: dB to the true edited atlas where they saw it. Disturbed: each with an
exposure, a place and a grain of its own. Zero-filled median: the published way, zeros where a keyframe saw nothing."""


def _aggregate(row: dict[str, Any]) -> list[Figure]:
    measured = row["figures"]
    figures = []
    for layer, scores in measured["disturbed"].items():
        others = {name: value for name, value in scores.items() if name not in ("network", _PUBLISHED)}
        figures.append(Figure(f"{layer}, disturbed: network", scores["network"], unit="dB"))
        figures += [Figure(f"{layer}, disturbed: {name}", value, unit="dB") for name, value in others.items()]
        figures.append(Figure(f"{layer}, disturbed: {_PUBLISHED}", scores[_PUBLISHED], unit="dB"))
        above = scores["network"] - scores[_PUBLISHED]
        figures.append(Figure(f"{layer}, disturbed: network above {_PUBLISHED}", above, "+.2f", "dB", MERGE_MARGIN_DB))
        best = scores["network"] - max(others.values())
        figures.append(Figure(f"{layer}, disturbed: network above the best other", best, "+.2f", "dB", 0.0))
    for layer, scores in measured["undisturbed"].items():
        for name, value in scores.items():
            target = MERGE_CLEAN_DB if name == "network" else None
            figures.append(Figure(f"{layer}, undisturbed: {name}", value, unit="dB", target=target))
    cost = measured["cost"]
    setting = f"network, {len(measured['keyframes'])} keyframes in {cost['size']}x{cost['size']} texels"
    for name in ("wall", "cpu"):
        seconds = cost[f"{name}_seconds"]
        figures.append(Figure(f"{setting}: {name} seconds", seconds, ".1f", "s", MERGE_SECONDS, "at most"))
    return figures


_ORACLES = ("oracle-learned", "oracle-kept", "oracle-additive", "oracle-truth")
_ORACLE = """\
Keyframes changed by a map that can be applied to every frame, given to the real stages; dB over all other frames, inside the
layer, to that map on every frame (with a truth: to the re-render of the true atlas in other colours). `--colours kept`: all of
the edit goes through the atlas, no change of colours is learned."""


def _oracle(row: dict[str, Any]) -> list[Figure]:
    measured, part = row["figures"], row["part"].removeprefix("oracle-")
    figures = []
    for one in measured if isinstance(measured, list) else [measured]:
        begin = f"`{row['clip']}` {one['layer']}, {len(one['keyframes'])} keyframes, fit {row['fit']}: {one['map']}"
        how, target = {
            "learned": ("", ORACLE_DB.get(one["map"])),
            "kept": (", `--colours kept`", None),
            "additive": (", `--colours kept --transfer additive`", None),
            "truth": (", true atlas edited", ORACLE_TRUTH_DB),
        }[part]
        figures.append(Figure(f"{begin}{how}", one["psnr"], unit="dB", target=target))
        if part in ("learned", "truth"):
            figures.append(Figure(f"{begin}{how}, no edit at all", one["no_edit_psnr"], unit="dB"))
    return figures


_POINTS = """\
Points that people marked in two frames, followed through the fit's atlas from one into the other (TAP-Vid's measure): d_avg,
the share nearer than 1, 2, 4, 8 and 16 px, of 100; and the one that is farthest off. Pixels are those of a picture of
256x256."""


def _points(row: dict[str, Any]) -> list[Figure]:
    points = row["figures"]["points"]
    begin = f"`{row['clip']}` fit {row['fit']}, {points['points']} points"
    return [
        Figure(f"{begin}: d_avg", points["d_avg"], ".1f", target=POINTS_D_AVG),
        Figure(f"{begin}: the worst, {worst_of(points)}", points["worst"], ".2f", "px", POINTS_WORST, "at most"),
    ]


_RENDER = """\
Rendering an edit from maps at the fit's size: frames per second without encoding; seconds from the start of the command's work
(programs are loaded) to its first frame; the most memory of a long render to mp4; pixels that hold nothing of the edited layer
and are not those of the source in PNG. Times are right on a machine that does nothing else."""


def _render(row: dict[str, Any]) -> list[Figure]:
    measured = row["figures"]
    begin = f"`{row['clip']}` {measured['width']}x{measured['height']}"
    figures = []
    for layer, speed in measured["layers"].items():
        rate = speed["frames_per_second"]
        figures.append(Figure(f"{begin}, {layer} edited: frames per second", rate, ".0f", target=RENDER_RATE))
        first = speed["first_frame_seconds"]
        figures.append(Figure(f"{begin}, {layer} edited: first frame after", first, ".2f", "s", FIRST_FRAME_SECONDS, "at most"))
    long = measured["long"]
    peak = Figure(f"{begin}, {long['frames']} frames: peak RAM", long["peak_ram_mb"], ".0f", "MB", RENDER_MB, "at most")
    encoded = Figure(f"{begin}, {long['frames']} frames with encoding: per second", long["encoded_frames_per_second"], ".0f")
    figures += [peak, encoded]
    for size, pixels in measured["untouched"].items():
        if "changed" in pixels:
            name = (
                f"`{row['clip']}` {pixels['width']}x{pixels['height']} ({size}): changed of {pixels['pixels']} untouched pixels"
            )
            figures.append(Figure(name, pixels["changed"], "d", target=0, bound="at most"))
        else:
            figures.append(Figure(f"`{row['clip']}` untouched pixels at the source's size: {pixels['left_out']}", None))
    return figures


_SHIMMER = """\
A checkerboard on the sample's background, rendered through true maps: its warp error along the flow, over that of the true
re-render, which looks the pattern up without smoothing. Above 1 it flickers more than the truth."""


def _shimmer(row: dict[str, Any]) -> list[Figure]:
    return [
        Figure(f"squares of {one['square']} texels", one["ratio"], target=SHIMMER, bound="at most")
        for one in row["figures"]["squares"]
    ]


def _size_of(row: dict[str, Any]) -> str:
    measured = row["figures"]
    name = _of(row).strip() if row["clip"] else "Sample"
    return f"{name}: {measured['frames']} frames of {measured['width']}x{measured['height']}."


def _flicker(row: dict[str, Any]) -> list[Figure]:
    """What the sample is held against: of a real clip the true edit is too easy, and says nothing of the maps' colours."""
    measured = row["figures"]
    rows = measured["rows"] if measured["sample"] else {}
    figures = []
    for way, least in CLEAN_DB.items():
        if way in rows.get("clean", {}):
            figures.append(Figure(f"clean: {way}", rows["clean"][way]["psnr"], unit="dB", target=least))
    for way, gained in GAINED_DB.items():
        for disturbance, least in gained.items():
            of_it = rows.get(disturbance, {})
            if way in of_it:
                better = of_it[way]["psnr"] - of_it["given"]["psnr"]
                figures.append(Figure(f"{disturbance}: {way} above given", better, "+.2f", "dB", least))
    for disturbance, (least, most) in WARP.items():
        if "atlas" in rows.get(disturbance, {}):
            warp = rows[disturbance]["atlas"]["warp"]
            figures.append(Figure(f"{disturbance}: warp of atlas", warp, target=least))
            figures.append(Figure(f"{disturbance}: warp of atlas", warp, target=most, bound="at most"))
    for disturbance, of_it in rows.items():
        others = [of_it[way]["psnr"] for way in ("flow", "patches") if way in of_it]
        if others and "atlas" in of_it:
            better = of_it["atlas"]["psnr"] - max(others)
            name = f"{disturbance}: atlas above the better of flow and patches"
            figures.append(Figure(name, better, "+.2f", "dB", ATLAS_ABOVE_DB))
    return figures
