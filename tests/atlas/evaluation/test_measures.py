"""Measures as text: the same numbers in the table and in the report."""

from __future__ import annotations

from typing import Any

from atlas.evaluation.measures import edit_measures, fit_measures
from atlas.evaluation.table import table

EDIT: dict[str, Any] = {
    "name": "red",
    "warp_error": {"edit": 0.0123456, "source": None, "ratio": None},
    "lpips": {"edit": 0.12345, "source": 0.1, "ratio": 1.2345},
    "lpips_from_source": 0.3333,
    "clip_text": {"edit": 25.123, "source": 20.4, "difference": 4.723},
    "coverage": {"foreground": 0.5, "background": None},
    "keyframe_fidelity": {"foreground": 0.01, "background": 0.02},
    "keyframe_overlap": {
        "foreground": {"edited": 0.01234, "source": 0.02, "strategy": "propagate"},
        "background": None,
    },
    "oracle": {"psnr": 33.333, "no_edit_psnr": 20.0},
    "models": {"clip": "a/b", "prompt": "a swan"},
}
REPORT: dict[str, Any] = {
    **{"clip": "lake", "frames": 6, "width": 96, "height": 64, "fit": "default", "edit": EDIT, "weaknesses": []},
    "reconstruction": {"whole": {"psnr": 30.0}, "layers": {"foreground": {"psnr": 28.126, "flow_disagreement_p90": 2.0}}},
    "absent": {"fid": "too few", "pose_mse": "too few"},
    "cost": {"prepare": {"wall_seconds": 1.26, "peak_ram_mb": 3, "machine": "desk", "cpus": 2, "device": "cpu"}},
}


def test_the_table_has_every_number_in_its_place() -> None:
    assert table(REPORT).splitlines() == [
        "lake: 6 frames of 96x64, fit default",
        "",
        "reconstruction           PSNR dB      SSIM    folded  mask IoU   flow px      90 %  slide px",
        "  whole frame              30.00         -         -         -         -         -         -",
        "  foreground               28.13         -         -         -         -     2.000         -",
        "",
        "edit red                    edit    source     ratio",
        "  warp error            0.012346         -         -",
        "  long term warp error         -         -         -",
        "  pixel mse                    -         -         -",
        "  lpips                   0.1235    0.1000     1.234",
        "  lpips from source       0.3333",
        "  embeddings                edit    source difference",
        "  clip text                25.12     20.40      +4.72",
        "  CLIP by a/b; the prompt: a swan",
        "  foreground: coverage 50.0%, keyframes off by 0.0100",
        "  background: coverage -, keyframes off by 0.0200",
        "  foreground: keyframes (propagate) differ by 0.0123 where they overlap, unedited by 0.0200",
        "  oracle 33.33 dB, no edit 20.00 dB",
        "  fid, pose_mse: absent, too few",
        "",
        "cost                      wall s     CPU s    RAM MB   VRAM MB  machine",
        "  prepare                    1.3         -       3.0         -  desk, 2 cores, cpu",
    ]


def test_the_report_has_a_row_with_its_reading_for_each_number_there_is() -> None:
    rows = {measure.name: measure.value for measure in edit_measures(EDIT)}
    assert rows == {
        "warp error, edit / source": "- (0.012346 / -)",
        "CLIP-text": "25.12 (source 20.40)",
        "LPIPS along the motion, edit / source": "1.234 (0.1235 / 0.1000)",
        "LPIPS, edit against source": "0.3333",
        "coverage, foreground": "50.0%",
        "coverage, background": "-",
        "keyframes off by, foreground": "0.0100",
        "keyframes off by, background": "0.0200",
        "keyframes differ by, foreground": "0.0123 (unedited 0.0200)",
        "keyframes differ by, background": "-",
        "oracle PSNR, dB": "33.33 (no edit 20.00)",
    }
    fit = fit_measures(REPORT["reconstruction"])
    assert [(measure.name, measure.value) for measure in fit] == [
        ("reconstruction PSNR, dB", "whole frame 30.00, foreground 28.13")
    ]
    assert all(measure.reading for measure in [*edit_measures(EDIT), *fit])
