"""The oracle edit on the sample with its true fit: the whole way through edit, aggregate and render."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.storage.images import read_image
from atlas.storage.stamps import read_json
from scripts.benchmarks.edits.oracle import OracleOptions, oracle, printed, spread_keyframes

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "oracle.py"
MAPS = ("orange", "poster")


def test_keyframes_are_the_middles_of_equal_parts() -> None:
    assert spread_keyframes("3", 50) == [8, 25, 41]
    assert spread_keyframes("1", 12) == [6]
    assert spread_keyframes("0,11", 12) == [0, 11]
    assert spread_keyframes("5,", 12) == [5]
    for wrong in ("0", "12", "3,12", "x"):
        with pytest.raises(UserError):
            spread_keyframes(wrong, 12)


def test_the_oracle_on_masks(fresh_clip: Clip) -> None:
    options = OracleOptions(clip=fresh_clip.folder, fit="truth", map="orange", method="mean", quiet=True)
    (found,) = oracle(options)
    assert found["keyframes"] == [2, 6, 10] and found["frames"] == 9
    assert found["psnr"] > found["no_edit_psnr"] + 8
    assert found["psnr_min"] <= found["psnr"]
    folder = fresh_clip.edit_folder("oracle-orange-truth")
    assert read_json(folder / "oracle.json") == found
    given = read_image(folder / "given" / "00006.png")
    outside = fresh_clip.mask("foreground", 6) == 0
    np.testing.assert_array_equal(given[outside], fresh_clip.frame(6)[outside])
    # evaluate finds it, as long as it is of the edit as it stands
    ask = EvaluateOptions(clip=fresh_clip.folder, edit="oracle-orange-truth", quiet=True)
    assert evaluate(ask)["edit"]["oracle"]["psnr"] == found["psnr"]
    (folder / "atlas" / "foreground.png").write_bytes((folder / "reference" / "foreground.png").read_bytes())
    assert evaluate(ask)["edit"]["oracle"] is None


def test_the_oracle_on_the_truth(fresh_clip: Clip) -> None:
    """Colours change in the true atlas, light stays: with true maps little is lost."""
    truth = fresh_clip.fit_folder("truth")
    (found,) = oracle(OracleOptions(clip=fresh_clip.folder, fit="truth", map="rotate", method="mean", truth=truth, quiet=True))
    assert found["psnr"] > 25
    assert found["psnr"] > found["no_edit_psnr"] + 8


def test_several_maps_are_a_table(fresh_clip: Clip) -> None:
    ask = OracleOptions(clip=fresh_clip.folder, fit="truth", map="orange, poster", method="mean", keyframes="6,", quiet=True)
    title, header, *rows = str(printed(ask)).splitlines()
    assert title == "foreground, keyframes 6: PSNR inside the layer over the 11 other frames, in dB"
    assert header.split() == ["map", "mean", "lowest", "no", "edit"]
    of_orange, of_poster = (read_json(fresh_clip.edit_folder(f"oracle-{name}-truth") / "oracle.json") for name in MAPS)
    assert [row.split()[:2] for row in rows] == [[one["map"], f"{one['psnr']:.2f}"] for one in (of_orange, of_poster)]
    given = read_image(fresh_clip.edit_folder("oracle-poster-truth") / "given" / "00006.png")
    inside = fresh_clip.mask("foreground", 6) > 127
    assert set(np.unique(given[inside])) <= {0, 64, 128, 191, 255}
    found = json.loads(str(printed(replace(ask, json=True))))
    assert [one["map"] for one in found] == list(MAPS)
    one = printed(replace(ask, json=True, map="orange"))
    assert isinstance(one, dict) and one["psnr"] == of_orange["psnr"], "one map is one object, as it always was"


def test_colours_that_are_kept_go_through_the_atlas(fresh_clip: Clip) -> None:
    ask = OracleOptions(clip=fresh_clip.folder, fit="truth", method="mean", quiet=True)
    (learned,) = oracle(ask)
    edit = Edit.open(fresh_clip, learned["edit"])
    assert edit.change_path("foreground").is_file()
    (kept,) = oracle(replace(ask, colours="kept"))
    assert not edit.change_path("foreground").exists()
    assert learned["psnr"] > kept["psnr"] + 3


def test_the_command(fresh_clip: Clip) -> None:
    command = [sys.executable, str(SCRIPT), str(fresh_clip.folder), "--fit", "truth", "--method", "mean", "--quiet"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["map"] == "orange"


def test_what_cannot_be_done(fresh_clip: Clip) -> None:
    with pytest.raises(UserError, match="no masks of background"):
        oracle(OracleOptions(clip=fresh_clip.folder, fit="truth", layer="background", quiet=True))
    with pytest.raises(UserError, match="no fit 'none'"):
        oracle(OracleOptions(clip=fresh_clip.folder, fit="none", quiet=True))
    with pytest.raises(UserError, match="choose from 1 to 11"):
        oracle(OracleOptions(clip=fresh_clip.folder, fit="truth", keyframes="12", quiet=True))
    with pytest.raises(UserError, match="--map orange,pink: choose from orange, invert, rotate, hue, paint, poster"):
        oracle(OracleOptions(clip=fresh_clip.folder, fit="truth", map="orange,pink", quiet=True))
    assert not (fresh_clip.folder / "edits").exists()
