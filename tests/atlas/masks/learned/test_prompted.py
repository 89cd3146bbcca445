"""Masks of what is pointed out: from the command's options to the clip's masks, by tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.api.stages import prepare
from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.masks.learned.follow import Follower, soft_mask
from atlas.masks.learned.prompted import seen_masks
from atlas.masks.learned.prompts import Point, Prompt
from atlas.masks.learned.segmenter import Segmenter
from atlas.storage.images import write_image
from tests.atlas.masks.learned import tiny

SCRIPT = Path(__file__).parents[4] / "scripts" / "prepare.py"
FRAMES = 10


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    tiny.save_segmenter(folder / "sam", seed=2)
    tiny.save_grounding_dino(folder / "dino")
    tiny.save_owl(folder / "owl")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Frames of 128x96, twice as large as the clips made of them."""
    rng = np.random.default_rng(0)
    noise = np.kron(rng.integers(0, 256, (12, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    for index in range(FRAMES):
        write_image(tmp_path / "frames" / f"{index:05d}.png", noise[:, 3 * index : 3 * index + 128])
    return tmp_path / "frames"


def test_points_are_answered_and_followed(source: Path, networks: Path, tmp_path: Path) -> None:
    clip = prepare(source, tmp_path / "clip", masks="points:3:40,50,-90,20", segmenter=str(networks / "sam"), max_side=64)
    assert clip.layers == ["foreground", "background"]
    segmenter = Segmenter(networks / "sam", torch.device("cpu"))
    prompt = Prompt((Point(20, 25), Point(45, 10, inside=False)))  # in the clip's pixels, which are half as many
    (known,) = segmenter.answers(clip.frame(3), [prompt], [None])
    follower = Follower(segmenter, clip.frame, clip.frames)
    expected = dict(follower.one_way([{3: known}], forward=True)) | dict(follower.one_way([{3: known}], forward=False))
    for index in range(FRAMES):
        logits = expected[index][0]
        assert logits is not None
        mask = clip.mask("foreground", index)
        np.testing.assert_array_equal(mask, soft_mask(logits, (64, 48)))
        assert np.count_nonzero((mask > 20) & (mask < 235)) > 0  # soft


def test_a_correction_is_added_and_followed_both_ways(
    source: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clip"
    options = {"segmenter": str(networks / "sam"), "max_side": 64, "start": 1, "frames": 8}
    prepare(source, folder, masks="points:0:40,50", **options)
    before = [Clip.open(folder).mask("foreground", index) for index in range(8)]
    clip = prepare(folder, masks="points:4:-60,30,20,20")
    after = [clip.mask("foreground", index) for index in range(8)]
    assert (clip.frames, clip.source.start, clip.width) == (8, 1, 64)
    np.testing.assert_array_equal(after[0], before[0])  # where it was pointed out first
    assert all((after[index] != before[index]).any() for index in range(1, 8))  # before the correction and after it
    at_once = prepare(source, tmp_path / "once", masks="points:0:40,50;4:-60,30,20,20", **options)
    for index in range(8):
        np.testing.assert_array_equal(at_once.mask("foreground", index), after[index])
    capsys.readouterr()
    prepare(folder, masks="points:4:-60,30,20,20")
    assert "is up to date" in capsys.readouterr().out
    prepare(folder, masks="duck=points:7:100,60")
    assert Clip.open(folder).layers == ["foreground", "duck", "background"]
    with pytest.raises(UserError, match="several objects: say which one, as foreground="):
        prepare(folder, masks="points:5:1,2")


def test_several_objects_are_layers_front_to_back(source: Path, networks: Path, tmp_path: Path) -> None:
    text = "swan=points:0:40,50;duck=box:60,20,50,50;points:2:5,5;6:-90,20"
    clip = prepare(source, tmp_path / "clip", masks=text, segmenter=str(networks / "sam"), max_side=64)
    assert clip.layers == ["swan", "duck", "foreground", "background"]
    for index in range(FRAMES):
        masks = np.stack([clip.mask(layer, index) for layer in clip.objects]).astype(int)
        assert masks.sum(0).max() <= 256  # what one sees; rounded
        assert (masks > 0).any((1, 2)).all()
    alone = prepare(source, tmp_path / "alone", masks="swan=points:0:40,50", segmenter=str(networks / "sam"), max_side=64)
    np.testing.assert_array_equal(alone.mask("swan", 5), clip.mask("swan", 5))  # in front of all


def test_those_in_front_hide_those_behind() -> None:
    masks = np.array([[[255, 128, 0, 0]], [[255, 255, 200, 0]], [[255, 255, 255, 255]]], np.uint8)
    assert np.stack(seen_masks(masks)).tolist() == [[[255, 128, 0, 0]], [[0, 127, 200, 0]], [[0, 0, 55, 255]]]


@pytest.mark.parametrize("detector", ["dino", "owl"])
def test_words_are_found_and_followed(
    detector: str, source: Path, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"segmenter": str(networks / "sam"), "detector": str(networks / detector), "max_side": 64}
    clip = prepare(source, tmp_path / "clip", masks='swan=text:"a swan"', **where)
    said = capsys.readouterr().out
    assert "'a swan' was found in frame 0: box" in said
    count = len(clip.objects)
    assert clip.objects == (["swan"] if count == 1 else [f"swan-{number + 1}" for number in range(count)])
    prepare(source, tmp_path / "clip", masks="swan=text:a swan", **where)
    assert "is up to date" in capsys.readouterr().out
    corrected = prepare(tmp_path / "clip", masks=f"{clip.objects[0]}=points:4:20,20")
    assert corrected.objects == clip.objects


def test_a_box_is_followed_by_sam_where_its_weights_are_at_hand(
    sample_clip: Clip, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, box = sample_clip.folder / "frames", "box:0,6,61,58"
    prepare(source, tmp_path / "sam", masks=box, segmenter=str(networks / "sam"))
    assert "SAM 2" in capsys.readouterr().out.splitlines()[0]
    prepare(source, tmp_path / "cut", masks=box)
    assert "GrabCut" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masks": "points:0:1"}, "is not understood at '0:1'"),
        ({"masks": "points:10:1,2"}, "the clip's frames are 0 to 9"),
        ({"masks": "points:0:200,2"}, "give pixels of the source, which is 128x96"),
        ({"masks": "points:0:1,2", "segmenter": "owner/name", "offline": True}, r"hf download owner/name .*--segmenter"),
        ({"masks": "text:a", "detector": "owner/name", "offline": True}, r"hf download owner/name .*--detector"),
        ({"masks": "points:0:1,2", "segmenter": "dino"}, "no SAM 2 or 3: name a folder of one with --segmenter"),
        ({"masks": "text:a", "detector": "sam"}, "no Grounding DINO or OWLv2: name one with --detector"),
        ({"masks": "text:a", "detector": "none here"}, "no folder, no file and no hub id"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    options: dict[str, object], words: str, source: Path, networks: Path, tmp_path: Path
) -> None:
    named = {
        name: str(networks / str(options.get(name, usual))) for name, usual in (("segmenter", "sam"), ("detector", "dino"))
    }
    named |= {name: str(value) for name, value in options.items() if "/" in str(value) or " " in str(value)}
    with pytest.raises(UserError, match=words) as problem:
        prepare(source, tmp_path / "clip", **(options | named))
    assert "\n" not in str(problem.value)
    assert not (tmp_path / "clip").exists()


def test_what_is_not_found_is_said(source: Path, networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"segmenter": str(networks / "sam"), "detector": str(networks / "dino"), "max_side": 64}
    monkeypatch.setattr("atlas.masks.learned.detector._FAMILIES", {"grounding-dino": _strict()})
    with pytest.raises(UserError, match=r"'a swan' was found in none of the frames 0, 1, .* \(best score .*, 1.01 is needed\)"):
        prepare(source, tmp_path / "clip", masks="text:a swan", **where)
    blind = tiny.save_segmenter(tmp_path / "blind", bias=-50)
    with pytest.raises(UserError, match="nothing was found of foreground where it is pointed out in frame 2"):
        prepare(source, tmp_path / "clip", masks="points:2:40,50", segmenter=str(blind), max_side=64)
    assert not (tmp_path / "clip").exists() and not list(tmp_path.glob(".clip*"))


def _strict() -> object:
    from dataclasses import replace

    from atlas.masks.learned.detector import _DINO

    return replace(_DINO, least=1.01)


def test_a_clip_alone_is_prepared_again_only_where_that_is_clear(source: Path, networks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no clip.s folder: name the one to make"):
        prepare(source, masks="points:0:1,2")
    clip = prepare(source, tmp_path / "clip", masks="none", max_side=64)
    with pytest.raises(UserError, match="say which masks it is to get"):
        prepare(clip.folder)
    with pytest.raises(UserError, match="--max-side makes another clip: name the source too"):
        prepare(clip.folder, masks="none", max_side=32)
    (clip.folder / "prepare.json").unlink()  # as an older version made it
    prepare(clip.folder, masks="points:0:40,50", segmenter=str(networks / "sam"))
    assert Clip.open(clip.folder).layers == ["foreground", "background"]
    made_with = json.loads((clip.folder / "prepare.json").read_text())
    (clip.folder / "prepare.json").write_text('{"version": 1, "masks": 3}')
    with pytest.raises(UserError, match=r"prepare.json is damaged \(masks\)"):
        prepare(clip.folder, masks="points:0:40,50")
    saved = {name: value for name, value in made_with.items() if name != "flow"}
    (clip.folder / "prepare.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"prepare.json is damaged \(flow\)"):
        prepare(clip.folder, masks="points:0:40,50")
    write_image(source / "00003.png", np.zeros((96, 128, 3), np.uint8))
    with pytest.raises(UserError, match="is gone or has changed"):
        prepare(clip.folder, masks="points:0:40,50")


def test_the_command(source: Path, networks: Path, tmp_path: Path) -> None:
    def run(*arguments: object, before: str = "") -> subprocess.CompletedProcess[str]:
        start = ["-c", f"{before}import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"] if before else [SCRIPT]
        command = [sys.executable, *start, *arguments, "--max-side", "64", "--segmenter", networks / "sam"]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True)

    clip = tmp_path / "clip"
    done = run(source, clip, "--masks", "points:2:40,50")
    assert done.returncode == 0 and "following: 100%" in done.stderr, done.stderr
    again = subprocess.run(
        [sys.executable, str(SCRIPT), str(clip), "--masks", "points:5:-60,30", "--quiet"], capture_output=True, text=True
    )
    assert again.returncode == 0 and again.stderr == "", again.stderr
    assert "points:2:40,50;points:5:-60,30" in again.stdout
    wrong = run(source, tmp_path / "other", "--masks", "points:99:40,50")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and wrong.stderr.count("\n") == 1
    hidden = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'transformers' else f(n, *a); "
    )
    missing = run(source, tmp_path / "other", "--masks", "points:0:40,50", before=hidden)
    assert missing.returncode == 2 and "pip install -e .[diffusion]" in missing.stderr and missing.stderr.count("\n") == 1
