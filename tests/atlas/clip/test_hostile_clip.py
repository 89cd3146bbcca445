"""Clips and videos made by somebody who means harm, through the real commands: refused in a line, and nothing else touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.maps.maps import Maps
from atlas.rendering.output import Output
from atlas.storage.images import write_image
from atlas.storage.stamps import digest, read_json, write_json
from atlas.video.reading import probe
from atlas.video.source import has_content

ROOT = Path(__file__).resolve().parents[3]
NOTHING = hashlib.sha256(b"\0path\0").hexdigest()
"""Hash of a path at which there is no file, which anybody can write down."""

RUN_ALL = """
import contextlib, io, json, runpy, sys, time
sys.path.insert(0, sys.argv[1])
# What the commands import is no part of what a file makes them take.
import atlas.rendering.export, atlas.preparation.stage, atlas.rendering.stage
try:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    peak = lambda of: resource.getrusage(of).ru_maxrss * unit
    base = peak(resource.RUSAGE_SELF)
except ImportError:
    resource = None
answers = {}
for name, (script, arguments) in json.loads(sys.stdin.read()).items():
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    sys.argv = [script, *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(script, run_name="__main__")
        status = None
    except SystemExit as stop:
        status = stop.code
    except BaseException as problem:
        status = repr(problem)
    answers[name] = [status, err.getvalue(), time.monotonic() - began]
taken = [peak(resource.RUSAGE_SELF) - base, peak(resource.RUSAGE_CHILDREN)] if resource else None
print(json.dumps({"answers": answers, "taken": taken}))
"""
"""Runs commands one after the other in a process of its own; a process for each would import the same things each time."""


def ffmpeg(*arguments: str) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", *arguments], check=True)


def top(**values: Any) -> Callable[[dict], dict]:
    return lambda data: data | values


def source(**values: Any) -> Callable[[dict], dict]:
    return lambda data: data | {"source": data["source"] | values}


def colour(**values: Any) -> Callable[[dict], dict]:
    return source(colour=values)


def layer(name: str) -> Callable[[dict], dict]:
    return top(layers=[name, "background"])


DESCRIPTIONS: dict[str, Callable[[dict], dict]] = {
    "a filter that writes a file": colour(
        sample_aspect_ratio="1/1,metadata=mode=add:key=x:value=owned,metadata=mode=print:file=WATCHED/notes.txt"
    ),
    "a filter that reads a file": colour(colorspace="bt709,drawtext=textfile=WATCHED/notes.txt"),
    "another filter after a line end": colour(color_trc="bt709\n"),
    "an option of the filter": colour(color_range="tv:field_mode=bff"),
    "a tag that is none": colour(pix_fmt="rgb24"),
    "a value that is none": colour(color_primaries="infrared"),
    "a pixel without width": colour(sample_aspect_ratio="0/1"),
    "a pixel without height": colour(sample_aspect_ratio="1/0"),
    "a pixel of huge numbers": colour(sample_aspect_ratio="9999999999/1"),
    "a pixel of foreign digits": colour(sample_aspect_ratio="١/٢"),
    "a list of tags": source(colour=["bt709"]),
    "a text for whether it is deep": source(deep="yes"),
    "a number for a tag": colour(colorspace=1),
    "a rate near nothing": top(fps=1e-300),
    "a rate without a fraction": top(fps=0.00001),
    "a rate beyond measure": top(fps=1e300),
    "a rate that is no number": top(fps=float("nan")),
    "an endless rate": top(fps=float("inf")),
    "a rate of many digits": top(fps=10**400),
    "a text as a rate": top(fps="24"),
    "a source's rate near nothing": source(fps=1e-300),
    "a source's rate below nothing": source(fps=-1),
    "a billion frames": top(frames=10**9),
    "fewer frames than none": top(frames=-1),
    "a huge width": top(width=10**6),
    "a huge height": top(height=10**30),
    "a width with a fraction": top(width=96.5),
    "a huge source": source(width=10**6),
    "huge indices": source(indices=[10**30] * 12),
    "indices below nothing": source(indices=[-1] * 12),
    "too few indices": source(indices=[1]),
    "a huge start": source(start=10**12),
    "sound that is a text": source(audio="yes"),
    "a path with a nought": source(path="a\0b"),
    "half a letter in a path": source(path="a\ud800b"),
    "a path without end": source(path="a/" * 10_000),
    "the folder above": layer(".."),
    "the folder itself": layer("."),
    "a path for a layer": layer("a/b"),
    "a path of Windows": layer("a\\b"),
    "a drive": layer("C:x"),
    "a device": layer("CON"),
    "a device with a suffix": layer("nul.txt"),
    "an option for a layer": layer("-x"),
    "a dot at the end": layer("a."),
    "a space at the end": layer("a "),
    "colours of a terminal": layer("a\x1b[31mb"),
    "text turned around": layer("a\u202egnp"),
    "a name of too many bytes": layer("\U0001f600" * 99),
    "the same layer twice": top(layers=["foreground", "foreground", "background"]),
    "no background": top(layers=["foreground"]),
    "the background in front": top(layers=["background", "foreground"]),
    "a text of layers": top(layers="background"),
}


@dataclass
class Answers:
    """What the commands said."""

    of: dict[str, list] = field(default_factory=dict)
    taken: list[int] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    """The file that is to be named, by case."""
    changed: list[str] = field(default_factory=list)
    """What is no longer as it was beside the clips."""


def edited(clip: Clip) -> Clip:
    """The clip with a finished edit, named red."""
    edit = Edit(clip.edit_folder("red"), "red", "truth", {"foreground": {"editor": "atlas"}})
    edit.save()
    size = Maps(clip.fit_folder("truth")).atlas_size("foreground")
    write_image(edit.atlas_path("foreground"), np.full((*size, 4), (255, 0, 0, 255), np.uint8))
    return clip


def film(path: Path, frames: int = 12, size: str = "192x128") -> Path:
    """A film with sound."""
    picture, sound = f"testsrc2=size={size}:rate=24:duration={frames / 24}", f"sine=440:duration={frames / 24}"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
    ffmpeg(*inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", str(path))
    return path


def sources(folder: Path, watched: Path) -> dict[str, tuple[Path, str]]:
    """Paths and hashes that a clip may claim for its source, to be rendered at full size."""
    made = {
        "somebody's film": (watched / "private.mp4", "0" * 64),
        "a name that is too long": (folder / ("x" * 1000), NOTHING),
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.mp4")
        (folder / "ring").symlink_to(folder / "ring")
        (folder / "links").mkdir()
        os.mkfifo(folder / "links" / "99.png")
        for number in range(12):
            (folder / "links" / f"{number}.png").symlink_to("/dev/zero" if number else watched / "notes.txt")
        made |= {"a pipe": (folder / "pipe.mp4", NOTHING), "a device": (Path("/dev/zero"), NOTHING)}
        made |= {"links in a ring": (folder / "ring", NOTHING), "a folder of links": (folder / "links", NOTHING)}
    return made


def videos(folder: Path) -> dict[str, Path]:
    """Small files that claim much."""
    small = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=1")
    folder.mkdir()
    gif, avi, mp4 = (folder / f"small.{suffix}" for suffix in ("gif", "avi", "mp4"))
    ffmpeg(*small, str(gif))
    ffmpeg(*small, "-c:v", "rawvideo", "-pix_fmt", "bgr24", str(avi))
    ffmpeg(*small, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(mp4))
    made = {}

    def patched(name: str, original: Path, *patches: tuple[int, bytes]) -> None:
        data = bytearray(original.read_bytes())
        for position, new in patches:
            data[position : position + len(new)] = new
        made[name] = folder / f"{name}{original.suffix}"
        made[name].write_bytes(data)

    for side in (60000, 16384):
        patched(f"an animation of {side}", gif, (6, struct.pack("<HH", side, side)))
        patched(f"raw frames of {side}", avi, (avi.read_bytes().index(b"strf") + 12, struct.pack("<ii", side, side)))
    patched("a long strip", gif, (6, struct.pack("<HH", 20000, 100)))
    sizes, times, chunks = (mp4.read_bytes().index(table) + 8 for table in (b"stsz", b"stts", b"stsc"))
    for count in (2**31, 10**7):
        many = [(times, struct.pack(">III", 1, count, 1)), (chunks, struct.pack(">IIII", 1, 1, count, 1))]
        patched(f"{count} packets", mp4, (sizes, struct.pack(">II", 16, count)), *many)
    patched("a film of years", mp4, (times + 8, struct.pack(">I", 2**31 - 1)))
    made["a playlist"] = folder / "a list.mp4"
    made["a playlist"].write_text(f"ffconcat version 1.0\nfile '{mp4}'\n")
    return made


@pytest.fixture(scope="module")
def answers(sample_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Every case, one after the other."""
    folder, watched = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("watched")
    (watched / "notes.txt").write_text("mine")
    film(watched / "private.mp4")
    before = {path.name: path.read_bytes() for path in watched.iterdir()}
    shutil.copytree(sample_clip.folder, folder / "honest")
    edited(Clip.open(folder / "honest"))
    result, commands = Answers(), {}

    def add(name: str, file: Path | None, change: Callable[[dict], dict], *more: str, script: str = "render") -> None:
        clip = folder / str(len(commands))
        shutil.copytree(folder / "honest", clip)
        text = json.dumps(change(read_json(clip / "clip.json"))).replace("WATCHED", watched.as_posix())
        (clip / "clip.json").write_text(text, encoding="utf-8")
        commands[name] = (str(ROOT / "scripts" / f"{script}.py"), [str(clip), *more, "--quiet", "--device", "cpu"])
        result.files[name] = file or clip

    for name, change in DESCRIPTIONS.items():
        add(name, None, change, "--edit", "red")
    for name, (path, sha256) in sources(folder, watched).items():
        claim = source(path=str(path), sha256=sha256, width=192, height=128)
        add(f"{name}, rendered", path, claim, "--edit", "red", "--size", "source")
        full = ("--fit", "truth", "--size", "source", "--output", str(folder / "out"))
        add(f"{name}, exported", path, claim, *full, script="export")
    for name, path in videos(folder / "videos").items():
        result.files[name] = path
        commands[name] = (str(ROOT / "scripts" / "prepare.py"), [str(path), str(folder / "prepared"), "--quiet"])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, str(ROOT)], input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    result.of, result.taken = told["answers"], told["taken"]
    result.changed = [name for name in before if before[name] != (watched / name).read_bytes()]
    result.changed += [path.name for path in watched.iterdir() if path.name not in before]
    result.changed += [name for name in ("out", "prepared") if (folder / name).exists()]
    result.changed += [str(path) for path in folder.glob("*/edits/red/video*")]
    return result


def test_every_case_is_refused_in_a_line_that_names_the_file(answers: Answers) -> None:
    wrong = {}
    for name, (status, said, seconds) in answers.of.items():
        where = str(answers.files[name])
        named = where in said or (name in DESCRIPTIONS and "is missing" in said and "00012.png" in said)
        if status != 2 or not said.startswith("error: ") or said.count("\n") != 1 or not named or seconds > 10:
            wrong[name] = (status, said[-300:], seconds)
    assert not wrong and len(answers.of) > len(DESCRIPTIONS) + 10


def test_what_stands_in_clip_json_is_named_as_such(answers: Answers) -> None:
    assert not [name for name in DESCRIPTIONS if "clip.json" not in answers.of[name][1] and name != "a billion frames"]


def test_nothing_else_was_touched(answers: Answers) -> None:
    assert not answers.changed


def test_no_case_took_much_memory(answers: Answers) -> None:
    if answers.taken is None:
        pytest.skip("this platform does not tell")
    assert max(answers.taken) < 500e6


def sounding(clip: Clip, path: Path, sha256: str) -> Clip:
    described = read_json(clip.folder / "clip.json")
    recorded = {"path": str(path), "sha256": sha256, "audio": True, "fps": 24.0}
    write_json(clip.folder / "clip.json", described | {"source": described["source"] | recorded})
    return Clip.open(clip.folder)


def test_only_the_recorded_source_gives_its_sound(fresh_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = film(tmp_path / "own.mp4")

    def written(name: str, clip: Clip) -> bool:
        Output(tmp_path / name, "mp4").write((clip.frame(i) for i in range(clip.frames)), clip)
        return probe(tmp_path / name).audio

    assert written("with.mp4", sounding(fresh_clip, own, digest(own)))
    assert not capsys.readouterr().err
    assert not written("without.mp4", sounding(fresh_clip, own, "0" * 64))
    said = capsys.readouterr().err
    assert "without sound" in said and "own.mp4" in said and "clip.json" in said and said.count("\n") == 1
    assert not written("gone.mp4", sounding(fresh_clip, tmp_path / "gone.mov", digest(own)))
    assert "is gone" in capsys.readouterr().err
    named = fresh_clip.folder.with_name("clip\x1b[31m")
    fresh_clip.folder.rename(named)
    fresh_clip.folder = named
    assert not written("named.mp4", sounding(fresh_clip, tmp_path / "gone.mov", digest(own)))
    assert "\x1b" not in (said := capsys.readouterr().err) and r"clip\x1b[31m" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in its folders")
def test_a_pipe_gives_no_sound(fresh_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    clip = sounding(fresh_clip, tmp_path / "pipe.mp4", NOTHING)
    Output(tmp_path / "film.mp4", "mp4").write((clip.frame(i) for i in range(clip.frames)), clip)
    assert not probe(tmp_path / "film.mp4").audio and "without sound" in capsys.readouterr().err


def test_what_is_no_file_has_no_content(tmp_path: Path) -> None:
    assert not has_content(tmp_path / "nowhere", NOTHING) and not has_content(tmp_path, NOTHING)
    assert digest(tmp_path / "nowhere") == NOTHING
    (tmp_path / "a").write_text("text")
    assert has_content(tmp_path / "a", digest(tmp_path / "a")) and not has_content(tmp_path / "a", NOTHING)
    (tmp_path / "empty").touch()  # as those of /proc look, where reading may wait for ever
    assert not has_content(tmp_path / "empty", digest(tmp_path / "empty"))


def test_a_recorded_source_must_have_the_frames_that_the_clip_names(fresh_clip: Clip, tmp_path: Path) -> None:
    own = film(edited(fresh_clip).folder.parent / "own.mp4")
    described = read_json(fresh_clip.folder / "clip.json")
    recorded = described["source"] | {"path": str(own), "sha256": digest(own), "width": 192, "height": 128}
    command = [sys.executable, str(ROOT / "scripts" / "render.py"), str(fresh_clip.folder), "--edit", "red", "--quiet"]
    write_json(fresh_clip.folder / "clip.json", described | {"source": recorded | {"indices": list(range(100, 112))}})
    done = subprocess.run([*command, "--size", "source"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "clip.json describes" in done.stderr
