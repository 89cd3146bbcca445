"""Text that comes from anyone: what is no JSON or holds the wrong things ends in one line, and steers no terminal or page."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.report import printed
from atlas.evaluation.stage import EvaluateOptions
from atlas.quality.plot import plot
from atlas.quality.series import FrameSeries
from atlas.rendering.frames import Rendering
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.json_text import LARGEST
from atlas.storage.stamps import is_up_to_date, read_json, read_stamp, write_json, write_stamp
from atlas.system.command import CommonOptions, run_command
from atlas.system.cost import read_costs
from atlas.system.terminal import in_markdown, say, visible
from edit.editors import EditOptions
from edit.stage import edit
from scripts.benchmarks.bench import write_report

ROOT = Path(__file__).resolve().parents[3]

TEXTS: dict[str, bytes] = {
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "nested less": b"[" * 200 + b"]" * 200,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "many lists": b"[" + b"[]," * 4_000_000 + b"1]",
    "a number of 5000 digits": b'{"version": ' + b"9" * 5000 + b"}",
    "a number of 100 digits": b'{"version": ' + b"9" * 100 + b"}",
    "infinity by its exponent": b'{"version": 1e999}',
    "NaN": b'{"version": NaN}',
    "-Infinity": b'{"version": [-Infinity]}',
    "no UTF-8": b'{"version": "\xff\xfe"}',
    "UTF-16": '{"version": 1}'.encode("utf-16"),
    "a mark of the byte order": b'\xef\xbb\xbf{"version": 1}',
    "half of a pair": b'{"version": 1, "name": "\\ud800"}',
    "half of a pair as a key": b'{"version": 1, "\\udfff": 1}',
    "cut short": b'{"version": 1',
    "control characters": b'{"version": "\x1b[31m"}',
    "empty": b"",
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_json_ends_in_one_short_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(TEXTS[what])
    began = time.process_time()
    with pytest.raises(UserError, match=r"some\.json is not valid JSON") as problem:
        read_json(path)
    assert time.process_time() - began < 5
    assert "\n" not in str(problem.value) and len(str(problem.value)) < 400
    (tmp_path / "stamp.json").write_bytes(TEXTS[what])
    (tmp_path / "cost.json").write_bytes(TEXTS[what])
    assert read_stamp(tmp_path) == {} and read_costs(tmp_path) == {}


def test_what_is_no_file_or_far_too_large_is_not_read(tmp_path: Path) -> None:
    pipe, folder, large, missing = (tmp_path / name for name in ("pipe", "folder", "large", "missing"))
    os.mkfifo(pipe)
    folder.mkdir()
    with large.open("wb") as stream:
        stream.truncate(LARGEST + 50_000_000_000)  # sparse: it takes no room
    for path, words in ((pipe, "a pipe"), (folder, "is a folder"), (large, "more than the"), (missing, "is missing")):
        with pytest.raises(UserError, match=words) as problem:
            read_json(path)
        assert str(path) in str(problem.value)
    for path in (large / "below", tmp_path / "nul\0.json"):
        with pytest.raises(UserError):
            read_json(path)
    with pytest.raises(UserError, match="device"):
        read_json(Path("/dev/zero"))


def test_json_of_honest_clips_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    log = [{"kind": "train", "iteration": i, "loss": 0.123456789} for i in range(20_000)]
    odd = os.fsdecode(b"caf\xe9.mp4")  # a file's name that is no UTF-8
    value = {"seed": 2**64 - 1, "path": odd, "log": log, "name": "Zo\u00eb \U0001f600 \x1b[31m", "deep": [[[[[[1]]]]]]}
    write_json(path, value)
    assert read_json(path) == value
    write_json(path, {"psnr": float("nan")})
    assert np.isnan(read_json(path, finite=False)["psnr"])
    path.write_text('{"a": 1, "a": 2}')
    assert read_json(path) == {"a": 2}


def test_a_text_of_any_kind_takes_little_memory(tmp_path: Path) -> None:
    worst = tmp_path / "worst.json"
    worst.write_bytes(b"[" + b"1.5," * (LARGEST // 4 - 2) + b"1]")
    code = "import sys; from pathlib import Path; from atlas.system.cost import peak_ram_mb;"
    code += "from atlas.storage.stamps import read_json;"
    code += "read_json(Path(sys.argv[1])); print(peak_ram_mb())"
    found = subprocess.run([sys.executable, "-c", code, str(worst)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(found.stdout) < 500


# A process's own peak: what `resource` tells of it begins with that of the process that started it.
_WITH_PEAK = """
import atexit, runpy, sys
from atlas.system.cost import peak_ram_mb
atexit.register(lambda: print(peak_ram_mb()))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _edited(clip: Clip) -> None:
    edit(
        EditOptions(
            clip=clip.folder,
            name="red",
            layer="foreground",
            editor="filter",
            filter="invert",
            keyframes="0,6",
            fit="truth",
            quiet=True,
        )
    )
    aggregate(AggregateOptions(clip=clip.folder, edit="red", method="mean", quiet=True))


def _evaluated(clip: Clip, **options: Any) -> dict[str, Any] | str:
    return printed(EvaluateOptions(clip=clip.folder, edit="red", weights="none", quiet=True, **options))


@pytest.fixture(scope="module")
def edited(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("hostile") / "clip"
    shutil.copytree(sample_clip.folder, folder)
    clip = Clip.open(folder)
    _edited(clip)
    return clip


STAMP_OF_EDIT = "edits/red/stamp.json"
HOSTILE = ["text", -1, 1e308, 10**39, None, [], {}, True, "\x1b[31mred", "../../x", "y" * 100_000, "a\0b", {"a": {"b": [1]}}]


@pytest.mark.parametrize(
    "name",
    [
        "clip.json",
        "edits/red/edit.json",
        "edits/red/reference/foreground.json",
        "fits/truth/maps/maps.json",
        STAMP_OF_EDIT,
    ],
)
def test_wrong_values_anywhere_are_rendered_or_end_in_one_line(name: str, edited: Clip) -> None:
    path = edited.folder / name
    original = path.read_bytes()
    whole = json.loads(original)
    try:
        for key in whole:
            for value in [*(HOSTILE[:1] if name == STAMP_OF_EDIT else HOSTILE), ...]:
                write_json(path, {k: v for k, v in whole.items() if k != key} | ({} if value is ... else {key: value}))
                try:
                    render(RenderOptions(clip=edited.folder, edit="red", format="png", quiet=True))
                    aggregate(AggregateOptions(clip=edited.folder, edit="red", method="mean", quiet=True))
                except UserError as problem:
                    assert "\n" not in str(problem), (key, value)
            if name != STAMP_OF_EDIT:  # what is up to date no longer is made again
                path.write_bytes(original)
    finally:
        path.write_bytes(original)
    _edited(edited)


def test_costs_that_are_no_numbers_are_left_out(edited: Clip) -> None:
    path = edited.folder / "cost.json"
    original = path.read_bytes()
    stage, cost = "edit red foreground", json.loads(original)["edit red foreground"]
    try:
        for key in cost:
            for value in HOSTILE:
                write_json(path, {stage: cost | {key: value}, "prepare": value, "render red": [value]})
                found = read_costs(edited.folder)
                assert found[stage].get(key) in (None, value)
                for figure in ("wall_seconds", "cpu_seconds", "peak_ram_mb", "peak_vram_mb"):
                    assert isinstance(found[stage].get(figure), int | float | None)
        write_json(
            path, {stage: cost | {"wall_seconds": "soon", "cpus": "\x1b[31m<b>", "machine": "<script>alert(1)</script>"}}
        )
        said = _evaluated(edited, report=True)
        assert isinstance(said, str) and next(line for line in said.splitlines() if stage in line).split()[3] == "-"
        page = (edited.folder / "edits" / "red" / "report.html").read_text(encoding="utf-8")
        assert "<script" not in page and "&lt;script&gt;" in page
    finally:
        path.write_bytes(original)


def test_an_oracle_that_is_no_number(edited: Clip) -> None:
    path = edited.folder / "edits" / "red" / "oracle.json"
    made_from = Rendering.open(edited.folder, "red").made_from()
    try:
        for value in ("text", {}):
            write_json(path, {"made_from": made_from, "psnr": 30.0, "no_edit_psnr": value})
            with pytest.raises(UserError, match=r"oracle\.json is damaged, its no_edit_psnr is no number"):
                _evaluated(edited)
        write_json(path, {"made_from": made_from, "psnr": 30.0})
        assert "oracle 30.00 dB, no edit - dB" in str(_evaluated(edited))
    finally:
        path.unlink()


NAMES = ["<script>alert(1)<", '" onerror="alert(1)', "\u202e$\\frac$\x9b31m"]


def test_names_of_layers_are_text_in_reports_and_drawings(sample_clip: Clip, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        shutil.copytree(sample_clip.folder, folder)
        for path in [*folder.rglob("foreground")]:
            path.replace(path.with_name(name))
        for file in (folder / "clip.json", folder / "fits" / "truth" / "maps" / "maps.json"):
            described = read_json(file)
            write_json(file, described | {"layers": [name, "background"]})
        try:
            clip = Clip.open(folder)
        except UserError:
            continue  # a name may be refused as well
        edit(
            EditOptions(
                clip=folder, name="x", layer=name, editor="filter", filter="invert", keyframes="0", fit="truth", quiet=True
            )
        )
        aggregate(AggregateOptions(clip=folder, edit="x", method="mean", quiet=True))
        printed(EvaluateOptions(clip=clip.folder, edit="x", weights="none", report=True, quiet=True))
        page = (folder / "edits" / "x" / "report.html").read_text(encoding="utf-8")
        assert "<script" not in page and 'onerror="' not in page and "\u202e" not in page and "\x9b" not in page


def test_a_drawing_takes_names_letter_by_letter(sample_clip: Clip, tmp_path: Path) -> None:
    series = {name: FrameSeries({"psnr": [30.0] * 12}, {name: {"psnr": [30.0] * 12}}) for name in ("$\\frac$", "$$", "plain")}
    for number, found in enumerate(series.values()):
        plot(tmp_path / f"{number}.png", sample_clip, found, [])
        assert (tmp_path / f"{number}.png").stat().st_size > 1000


def test_what_steers_a_terminal_becomes_visible() -> None:
    assert (
        visible("a\x1b[31mb\x07\x7f\x9b\r\u202e\u2066\ud800\t\nc")
        == "a\\x1b[31mb\\x07\\x7f\\x9b\\x0d\\u202e\\u2066\\ud800\t\nc"
    )
    assert visible("Zo\u00eb \u4e2d \U0001f600 \u05d0") == "Zo\u00eb \u4e2d \U0001f600 \u05d0"
    assert in_markdown("a|b\n<img src=x>") == "a\\|b &lt;img src=x>"
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say("Zo\u00eb \udce9", narrow)
    narrow.seek(0)
    assert narrow.read() == "Zo\\xeb \\udce9\n"


def _run(stage: Callable[[CommonOptions], object], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["toy.py"])
    with pytest.raises(SystemExit) as stop:
        run_command(CommonOptions, stage)
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_results_and_errors_of_commands_hold_no_escape_codes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def failing(options: CommonOptions) -> None:
        raise UserError("\x1b]0;owned\x07 is \x9b31m no\rclip: " + "x" * 100_000 + " make another")

    assert _run(failing, monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: \\x1b]0;owned\\x07 is \\x9b31m no clip") and said.endswith("make another\n")
    assert len(said) < 3000 and said.count("\n") == 1
    assert _run(lambda options: "one\x1b[2J\ntwo\ud800", monkeypatch) == 0
    assert capsys.readouterr().out == "one\\x1b[2J\ntwo\\ud800\n"
    assert _run(lambda options: {"\x7f\x1b": "\ud800\x9b"}, monkeypatch) == 0
    assert json.loads(capsys.readouterr().out) == {"\x7f\x1b": "\ud800\x9b"}


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: Path("a\0b").read_bytes(), "NUL"),
        (lambda: Path("\ud800").read_bytes(), "cannot be written here"),
        (lambda: np.zeros(2**50), "out of memory"),
    ],
)
def test_names_that_no_file_can_have_end_in_one_line(
    act: Callable[[], object], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert _run(lambda options: act(), monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1


def test_a_real_command_with_hostile_files(edited: Clip) -> None:
    path = edited.folder / "edits" / "red" / "edit.json"
    original = path.read_bytes()
    layer = "\x1b[31mforeground"
    described = json.loads(original)
    try:
        for content in (b"[" * 100_000, json.dumps(described | {"layers": {layer: {}}}).encode()):
            path.write_bytes(content)
            command = [sys.executable, "-c", _WITH_PEAK, "scripts/render.py", str(edited.folder), "--edit", "red"]
            began = time.perf_counter()
            found = subprocess.run(command, capture_output=True, cwd=ROOT)
            said = found.stderr
            assert found.returncode == 2 and time.perf_counter() - began < 30
            assert float(found.stdout) < 500
            assert said.startswith(b"error: ") and said.count(b"\n") == 1 and b"\x1b" not in said and b"edit.json" in said
    finally:
        path.write_bytes(original)


def test_stamps_keep_what_else_they_hold(tmp_path: Path) -> None:
    write_json(tmp_path / "stamp.json", {"other": [{"a": None}], "made_from": ["x"]})
    assert not is_up_to_date(tmp_path, "x")
    write_stamp(tmp_path, "x")
    assert read_stamp(tmp_path) == {"other": [{"a": None}], "made_from": "x"}


def test_damaged_figures_of_a_bench_are_one_line(tmp_path: Path) -> None:
    machine = {"name": "m", "processor": "p", "cores": 1, "usable_cores": 1, "ram_gb": 1.0, "system": "s", "python": "3"}
    machine |= {"versions": {}, "environment": {}, "commit": None}
    row = {"part": "splat", "clip": None, "load": 0.1, "wall_seconds": 1.0, "figures": {"griddata_seconds": "text"}}
    with pytest.raises(UserError, match="runs holds figures that are damaged"):
        write_report({"command": "bench", "machine": machine, "load": 0.1, "clips": [], "edits": [row]}, tmp_path)
