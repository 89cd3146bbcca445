"""Job files: what they mean, and that what is wrong in one is told in a line that names the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.batches.batch import BatchOptions, planned, read_jobs
from scripts.batches.files import read_job_file
from scripts.batches.jobfile import Job
from scripts.plans.allotment import Allotment

GOOD = """
defaults: {preset: preview, method: mean, seed: 3, model: someone/model, edit: {strength: 0.5}, format: webm}
clips:
  - {name: swan, source: videos/swan.mp4, masks: masks, max-side: 320, fit: {name: fine, seed: 4}}
  - {clip: cow, fitted: truth, edits: [gold]}
  - {name: bare, source: videos/swan.mp4, edits: []}
edits:
  - {name: hue, filter: hue}
  - {name: gold, prompt: "1: a golden swan", on: frames, recipe: rave, render: {format: png}}
  - name: both
    layers:
      - {filter: sketch}
      - {layer: background, filter: oil, seed: 5}
    aggregate: {steps: 9}
"""


def jobs_of(folder: Path, text: str, name: str = "jobs.yaml", **options: object) -> list[Job]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_jobs(BatchOptions(jobs=folder / name, **options), folder / "out")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "swan.mp4").touch()
    (tmp_path / "masks").mkdir()
    return tmp_path


def test_what_a_job_file_means(folder: Path) -> None:
    swan, cow, bare = jobs_of(folder, GOOD)
    assert swan.clip.source == folder / "videos" / "swan.mp4" and swan.clip.folder == folder / "out" / "clips" / "swan"
    assert swan.clip.prepare == {"masks": str(folder / "masks"), "max_side": 320}
    assert (swan.fit, swan.fit_options) == ("fine", {"preset": "preview", "seed": 4})
    assert (cow.clip.source, cow.clip.folder, cow.fit, cow.is_fitted) == (None, folder / "cow", "truth", True)
    assert [edit.name for edit in cow.edits] == ["gold"] and bare.edits == ()
    hue, gold, both = swan.edits
    # The model is the diffusion editor's: a filter's edit takes none of it.
    assert hue.layers == ({"layer": "foreground", "seed": 3, "filter": "hue", "editor": "filter"},)
    assert gold.layers[0]["model"] == "someone/model" and gold.layers[0]["strength"] == 0.5 and gold.layers[0]["on"] == "frames"
    assert gold.of("render") == {"format": "png"} and hue.of("render") == {"format": "webm"}
    assert [options["layer"] for options in both.layers] == ["foreground", "background"] and both.layers[1]["seed"] == 5
    assert both.of("aggregate") == {"method": "mean", "seed": 3, "merge_steps": 9}


def test_the_plan_of_it(folder: Path) -> None:
    plan, rows = planned(jobs_of(folder, GOOD), Allotment())
    stages = [task.stage for task in plan]
    assert stages.count("prepare") == 2 and stages.count("fit") == 2  # of swan and of bare: all edits of a clip share them
    assert [(row["clip"], row["edit"]) for row in rows] == [
        *(("swan", name) for name in ("hue", "gold", "both")),
        ("cow", "gold"),
        ("bare", ""),
    ]
    of_both = [task for task in plan if task.title.startswith("edit swan both")]
    assert of_both[0].id in of_both[1].needs  # they share a folder
    assert not [task for task in plan if task.stage == "aggregate" and "gold" in task.title]  # every frame is edited
    words = next(task.command for task in plan if task.title == "edit swan gold")
    assert "--prompt=1: a golden swan" in words and "--fit" in words and "fine" in words and "--quiet" in words


def test_an_edit_waits_for_the_one_it_starts_from(folder: Path) -> None:
    edits = "[{name: base, filter: oil, on: frames}, {name: more, prompt: x, on: frames, start: 'edit:base'}]"
    plan, _ = planned(jobs_of(folder, f"clips: [{{clip: cow}}]\nedits: {edits}"), Allotment())
    base, more = (next(task for task in plan if task.title == f"edit cow {name}") for name in ("base", "more"))
    assert base.id in more.needs


def test_whole_frames_need_no_fit(folder: Path) -> None:
    text = "clips: [{source: videos/swan.mp4, name: a, masks: none}]\nedits: [{name: oil, layer: all, on: frames, filter: oil}]"
    plan, _ = planned(jobs_of(folder, text), Allotment())
    assert [task.stage for task in plan] == ["prepare", "edit", "render", "evaluate"]


def test_toml_and_json_mean_the_same(folder: Path) -> None:
    data = {"clips": [{"clip": "cow", "edits": ["a"]}], "edits": [{"name": "a", "filter": "hue", "on": "frames", "crf": 12}]}
    of_json = jobs_of(folder, json.dumps(data), "jobs.json")
    text = '[[clips]]\nclip = "cow"\nedits = ["a"]\n[[edits]]\nname = "a"\nfilter = "hue"\non = "frames"\ncrf = 12\n'
    assert jobs_of(folder, text, "jobs.toml") == of_json


def test_yaml_reads_no_word_as_something_else(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "a: {on: no, off: yes, date: 2024-01-01, time: 12:30, n: 012, x: .5, e: 1e3, nil: ~, t: true, '': ''}"
    )
    read = {
        "on": "no",
        "off": "yes",
        "date": "2024-01-01",
        "time": "12:30",
        "n": 12,
        "x": 0.5,
        "e": 1000.0,
        "nil": None,
        "t": True,
    }
    assert read_job_file(folder / "a.yaml")["a"] == read | {"": ""}
    (folder / "b.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}")
    assert read_job_file(folder / "b.yaml")["b"] == {"x": 1, "y": 3}
    (folder / "c.yaml").write_text("a: {deep: {deeper: &b {<<: {x: 1, y: 2}, y: 3}}}\nb: {<<: *b}")
    assert read_job_file(folder / "c.yaml")["b"] == {"x": 1, "y": 3}


def one_clip(text: str) -> str:
    return f"clips: [{{clip: cow}}]\nedits: [{text}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no clips and edits"),
        ("- a", "holds no clips and edits"),
        ("{", "is not understood: line"),
        ("a: !!python/object/apply:os.system ['true']", "is not understood: line 1"),
        ("clips: [{clip: a, clip: b}]", "'clip' stands twice"),
        ("? [a]\n: b", "a key is no text"),
        ("clips: " + "[" * 5000 + "]" * 5000, "nest"),  # too deeply, as YAML's reader in C says it, or the one in Python
        ("clips: &a [*a]", "too large with its aliases"),
        ("clips: [{clip: a, fitted: [&b0 [c], " + ", ".join(f"&b{n + 1} [*b{n}, *b{n}]" for n in range(40)) + "]}]", "aliases"),
        ("a: &a " + "x" * 9000 + "\nb: [" + ", ".join(["*a"] * 2000) + "]", "too large with its aliases"),
        ("clip: []", "'clip' has no meaning here"),
        ("clips: {}", "names no clip"),
        ("clips: {a: 1}", "jobs.yaml, clips: here stands a list"),
        ("clips: [3]", "jobs.yaml, clip 1: here stand options"),
        ("clips: [{}]", "clip 1: give either source"),
        ("clips: [{clip: a, source: b}]", "clip 1 (b): give either source"),
        ("clips: [{clip: [a]}]", "clip 1: clip is no path"),
        ("clips: [{clip: /etc}]", "clip 1 (/etc): /etc is out of the job file's reach"),
        ("clips: [{source: ../../x.mp4}]", "out of the job file's reach"),
        ("clips: [{source: x.mp4, masks: ../masks}]", "clip 1 (x.mp4), masks: ../masks is out of the job file's reach"),
        ("clips: [{source: x.mp4, name: ../x}]", "clip 1 (../x): '../x' cannot name a folder"),
        ("clips: [{source: x.mp4, name: 'a/b'}]", "cannot name a folder"),
        ("clips: [{clip: a}, {clip: b/a}]", "two clips are called 'a'"),
        ("clips: [{clip: a}, {clip: ./a, name: b}]", "two clips are in"),
        ("clips: [{clip: a, name: Swan}, {clip: b, name: swan}]", "two clips are called"),
        ("clips: [{clip: a, frames: 3}]", "frames is for preparing"),
        ("clips: [{source: a.mp4, fitted: x}]", "fitted names a fit that is there"),
        ("clips: [{clip: a, fitted: ../x}]", "cannot name a folder"),
        ("clips: [{clip: a, preset: [1]}]", "clip 1 (a), preset: [1] is not one of"),
        ("clips: [{clip: a, colour: red}]", "clip 1 (a): no stage here has an option 'colour'"),
        ("clips: [{clip: a, fit: {strength: 1}}]", "clip 1 (a), fit: fit has no option 'strength'"),
        ("clips: [{clip: a, fit: 3}]", "clip 1 (a), fit: here stand options"),
        ("clips: [{clip: a, edits: [b]}]", "there is no edit 'b'"),
        ("defaults: {colour: 1}\nclips: [{clip: a}]", "jobs.yaml, defaults: no stage here has an option"),
        ("defaults: [1]\nclips: [{clip: a}]", "jobs.yaml, defaults: here stand options"),
        (one_clip("{filter: hue}"), "edit 1: it has no name"),
        (one_clip("{name: a}"), "edit 1 (a): it does not say how to edit"),
        (one_clip("{name: a, filter: hue, prompt: b}"), "edit 1 (a): it does not say how to edit"),
        (one_clip("{name: a, filter: hue}, {name: A, filter: oil}"), "two edits are called"),
        (one_clip("{name: a, filter: hue, layer: ../../x}"), "edit 1 (a): '../../x' is no layer's name"),
        (one_clip("{name: a, layers: [{filter: hue}, {filter: oil}]}"), "edit 1 (a): a layer stands twice"),
        (one_clip("{name: a, filter: hue, layers: []}"), "there is no layer"),
        (one_clip("{name: a, images: /etc}"), "edit 1 (a), images: /etc is out of the job file's reach"),
        (one_clip("{name: a, filter: hue, output: /etc/x}"), "no stage here has an option 'output'"),
        (one_clip("{name: a, filter: hue, seconds: 3}"), "no stage here has an option 'seconds'"),
        (one_clip("{name: a, filter: hue, crf: low}"), "edit 1 (a), crf: 'low' is not a whole number"),
        (one_clip("{name: a, filter: hue, render: {output: /x}}"), "render has no option 'output'"),
        (one_clip('{name: "a\\e[31m", filter: hue}'), "cannot name a folder"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str, said: str, folder: Path) -> None:
    with pytest.raises(UserError) as refused:
        jobs_of(folder, text)
    message = str(refused.value)
    assert said in message and str(folder / "jobs.yaml") in message and "\n" not in message
    assert not (folder / "out").exists()


def test_files_that_are_none(folder: Path) -> None:
    (folder / "big.yaml").write_bytes(b" " * 16_000_001)
    (folder / "latin.yaml").write_bytes(b"a: \xe9")
    (folder / "dir.yaml").mkdir()
    (folder / "bad.toml").write_text("a = ")
    said = {"big.yaml": "more than the 16 MB", "latin.yaml": "no text in UTF-8", "dir.yaml": "is no file"}
    for name, words in (said | {"none.yaml": "is missing", "a.txt": "is no job file", "bad.toml": "not understood"}).items():
        with pytest.raises(UserError, match=words) as refused:
            read_job_file(folder / name)
        assert "\n" not in str(refused.value)


def test_reach_is_widened_by_name_alone(folder: Path) -> None:
    text = f"clips: [{{source: {folder.parent / 'elsewhere' / 'x.mp4'}}}]"
    with pytest.raises(UserError, match="allow its folder with --reach"):
        jobs_of(folder, text)
    (job,) = jobs_of(folder, text, reach=(folder.parent / "elsewhere",))
    assert job.clip.name == "x"


V2V = """
data:
  - video_id: swan
    fps: 24
    edit: [{prompt: a golden swan, type: style}, {prompt: "a swan, at night"}]
  - {video_id: 7, edit: [{prompt: x}]}
"""


def test_a_file_of_v2vbench(folder: Path) -> None:
    (folder / "videos" / "7").mkdir()
    (folder / "defaults.yaml").write_text("{preset: preview, steps: 2, max_side: 64, model: /models/sd}")
    first, second = jobs_of(folder, V2V, defaults=folder / "defaults.yaml")
    assert (first.clip.name, first.clip.source, first.fit_options) == (
        "swan",
        folder / "videos" / "swan.mp4",
        {"preset": "preview"},
    )
    assert first.clip.prepare == {"max_side": 64} and second.clip.source == folder / "videos" / "7"
    assert [(edit.name, edit.layers[0]["prompt"]) for edit in first.edits] == [
        ("0", "a golden swan"),
        ("1", "a swan, at night"),
    ]
    assert first.edits[0].layers[0] | {} == {
        "layer": "foreground",
        "prompt": "a golden swan",
        "editor": "diffusion",
        "steps": 2,
        "model": "/models/sd",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: 3", "here stands a list of videos"),
        ("data: [3]", "video 1: it has no video_id"),
        ("data: [{video_id: ../x, edit: [{prompt: a}]}]", "video 1: '../x' cannot name a folder"),
        ("data: [{video_id: none, edit: [{prompt: a}]}]", "video 1 (none): no none.mp4 and no folder none is in"),
        ("data: [{video_id: swan}]", "video 1 (swan): edit is no list of prompts"),
        ("data: [{video_id: swan, edit: [{prompt: 3}]}]", "video 1 (swan), edit 0: it has no prompt"),
        ("data: [{video_id: swan, edit: [{prompt: a}]}, {video_id: Swan, edit: [{prompt: a}]}]", "stands twice"),
    ],
)
def test_what_is_wrong_in_a_file_of_v2vbench(text: str, said: str, folder: Path) -> None:
    with pytest.raises(UserError) as refused:
        jobs_of(folder, text)
    assert said in str(refused.value) and str(folder / "jobs.yaml") in str(refused.value)
