"""Edits side by side: every number in its row and column, and a reason for what is blank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.clip.edits import Edit
from atlas.evaluation.comparison import compare

ATLAS: dict[str, Any] = {
    "warp_error": {"edit": 0.002, "source": 0.001, "ratio": 2.0},
    "long_term_warp_error": {"edit": 0.003, "source": 0.002, "ratio": 1.5},
    "pixel_mse": {"edit": 50.0, "source": 40.0, "ratio": 1.25},
    "changed": 0.125,
    "sharpness": {"edit": 0.01, "source": 0.02, "ratio": 0.5},
    "coverage": {"foreground": 0.75},
    "keyframe_fidelity": {"foreground": 0.01},
    "keyframe_overlap": {"foreground": {"edited": 0.03, "source": 0.02, "strategy": "fixed"}},
    "oracle": {"psnr": 30.0, "no_edit_psnr": 10.0},
    "absent": {"lpips": "needs its weights"},
}
EVERY = "all frames were edited"
FRAMES: dict[str, Any] = {
    "warp_error": {"edit": 0.0015, "source": 0.001, "ratio": 1.5},
    "changed": 0.25,
    "sharpness": {"edit": 0.03, "source": 0.02, "ratio": 1.5},
    "sharpness_kept": {"from": "raw", "ratio": 0.875},
    "clip_frame": {"edit": 0.97, "source": 0.98, "difference": -0.01},
    "coverage": {},
    "keyframe_overlap": {},
    "absent": {"lpips": "needs its weights", "coverage": EVERY, "keyframe_fidelity": EVERY, "keyframe_overlap": "no atlas"},
}
COSTS = {
    "gold": {"edit": {"wall_seconds": 12.34, "peak_ram_mb": 512.6}},
    "ds": {"render": {"wall_seconds": 3.0, "peak_ram_mb": None}},
}


def edits() -> list[Edit]:
    layers = {"gold": {"foreground": {}}, "ds": {"all": {"on": "frames"}}}
    return [Edit(Path(name), name, "default", of_edit) for name, of_edit in layers.items()]


def test_the_table_and_its_notes() -> None:
    found = compare(edits(), {"gold": ATLAS, "ds": FRAMES}, COSTS)
    assert found.text().splitlines() == [
        "                                                   gold              ds",
        "warp error, over the source's                     2.000           1.500",
        "warp error                                     0.002000        0.001500",
        "long-term warp error, over the source's           1.500               -",
        "long-term warp error                           0.003000               -",
        "pixel-MSE, over the source's                      1.250               -",
        "pixel-MSE                                         50.00               -",
        "changed                                          0.1250          0.2500",
        "sharpness, over the source's                      0.500           1.500",
        "sharpness                                      0.010000        0.030000",
        "sharpness kept                                        -  0.875 (of raw)",
        "CLIP-frame                                            -          0.9700",
        "CLIP-frame, against the source's                      -         -0.0100",
        "coverage, foreground                              75.0%               -",
        "keyframes off by, foreground                     0.0100               -",
        "keyframes differ by, foreground                  0.0300               -",
        "keyframes differ by, foreground, unedited        0.0200               -",
        "oracle PSNR, dB                                   30.00               -",
        "oracle PSNR, dB, no edit                          10.00               -",
        "edit, s / MB                                 12.3 / 513               -",
        "render, s / MB                                        -         3.0 / -",
        "",
        "lpips: absent, needs its weights",
        "coverage, keyframe_fidelity: absent from ds, all frames were edited",
        "keyframe_overlap: absent from ds, no atlas",
        "oracle PSNR, dB: absent from ds, scripts/oracle.py did not measure it",
        "sharpness kept: absent from gold, nothing was deflickered",
    ]


def test_every_row_says_how_to_read_it_and_a_layer_that_only_one_edits_is_told() -> None:
    two = Edit(Path("two"), "two", "default", {"background": {}})
    other = ATLAS | {"coverage": {"background": 0.5}, "keyframe_overlap": {"background": None}, "oracle": None}
    other |= {"keyframe_fidelity": {"background": None}}
    other |= {"absent": {"keyframe_fidelity of background": "there are no keyframes", "keyframe_overlap of background": "none"}}
    found = compare([edits()[0], two], {"gold": ATLAS, "two": other}, {"gold": {}, "two": {}})
    assert all(row.reading and len(row.values) == 2 for row in found.rows)
    values = {row.name: row.values for row in found.rows}
    assert values["coverage, foreground"] == ("75.0%", "-") and values["coverage, background"] == ("-", "50.0%")
    assert values["keyframes differ by, background"] == ("-", "-")
    assert "coverage, foreground: absent from two, foreground is not edited" in found.notes
    assert "keyframe_overlap of background: absent from two, none" in found.notes
    assert not any(note.startswith("sharpness kept") for note in found.notes)  # of no row there is nothing to say


def test_columns_stand_as_they_were_asked_for() -> None:
    results = {"gold": ATLAS, "ds": FRAMES}
    assert compare(edits()[::-1], results, COSTS).edits == ("ds", "gold")
    names = [row.name for row in compare(edits(), results, COSTS).rows]
    assert [row.name for row in compare(edits()[::-1], results, COSTS).rows] == names
