"""The oracle edit on the sample with its true fit: the whole way through edit, aggregate and render."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.storage.images import read_image
from atlas.storage.stamps import read_json
from scripts.benchmarks.edits.oracle import COLOUR_MAPS, OracleOptions, oracle, spread_keyframes

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "oracle.py"


def test_white_becomes_orange() -> None:
    np.testing.assert_allclose(COLOUR_MAPS["orange"](np.ones(3)), [1, 0.55, 0.1], atol=1e-6)
    np.testing.assert_allclose(COLOUR_MAPS["rotate"](np.array([0.1, 0.2, 0.3])), [0.3, 0.1, 0.2])


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
    found = oracle(options)
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
    found = oracle(OracleOptions(clip=fresh_clip.folder, fit="truth", map="rotate", method="mean", truth=truth, quiet=True))
    assert found["psnr"] > 25
    assert found["psnr"] > found["no_edit_psnr"] + 8


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
    assert not (fresh_clip.folder / "edits").exists()
