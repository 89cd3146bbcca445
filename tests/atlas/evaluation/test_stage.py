"""Evaluation on the true fit, whose numbers are known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.report import write_report
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.evaluation.table import table
from atlas.maps.maps import Maps
from atlas.sample.scene import Sample
from atlas.storage.images import to_uint8, write_image
from atlas.storage.stamps import read_json, write_json
from atlas.system.cost import measured, read_costs

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "evaluate.py"


def make_edit(clip: Clip, atlas: np.ndarray, name: str = "paint") -> Edit:
    edit = Edit(clip.edit_folder(name), name, "truth", {"foreground": {"editor": "atlas"}})
    edit.save()
    write_image(edit.atlas_path("foreground"), atlas)
    return edit


def options(clip: Clip, **changes: object) -> EvaluateOptions:
    return EvaluateOptions(clip=clip.folder, quiet=True, **changes)  # type: ignore[arg-type]


def test_the_true_fit_reconstructs_the_clip(fresh_clip: Clip) -> None:
    report = evaluate(options(fresh_clip, fit="truth"))
    found = report["reconstruction"]
    assert found["whole"]["psnr"] > 45 and found["whole"]["ssim"] > 0.99
    for layer in fresh_clip.layers:
        assert found["layers"][layer]["psnr"] > 40
        assert found["layers"][layer]["fold_share"] == 0
    assert found["layers"]["foreground"]["mask_iou"] > 0.99
    assert read_json(fresh_clip.fit_folder("truth") / "metrics.json")["reconstruction"] == found
    assert "edit" not in report
    assert "whole frame" in table(report)


def test_an_error_of_known_size_inside_one_layer(fresh_clip: Clip, sample: Sample) -> None:
    """Frames whose object is 20 of 255 brighter than the layers say: 20 log10(255 / 20) = 22.11 dB there, and nowhere else."""
    for index in range(fresh_clip.frames):
        inside = sample.opacities["foreground"][index] > 0.5
        frame = fresh_clip.frame(index)
        write_image(fresh_clip.frame_path(index), np.where(inside[..., None], frame.clip(max=235) + np.uint8(20), frame))
    found = evaluate(options(fresh_clip, fit="truth"))["reconstruction"]
    assert found["layers"]["foreground"]["psnr"] == pytest.approx(22.11, abs=0.3)
    assert found["layers"]["background"]["psnr"] > 35
    share = (sample.opacities["foreground"] > 0.5).mean((1, 2))
    assert found["whole"]["psnr"] == pytest.approx(np.mean(22.11 - 10 * np.log10(share)), abs=0.5)


def test_the_mapping_is_compared_with_the_truth(fresh_clip: Clip, sample_clip_two: Clip) -> None:
    truth = fresh_clip.fit_folder("truth")
    report = evaluate(options(fresh_clip, fit="truth", truth=truth))
    for layer in fresh_clip.layers:
        assert report["truth"][layer]["median"] < 0.001 and report["truth"][layer]["opacity_iou"] == 1
        assert report["reconstruction"]["layers"][layer]["flow_disagreement"] < 0.3
    text = table(report)
    assert "mapping against truth" in text and "1.0000" in text and "weak:" not in text
    assert report["weaknesses"] == [] and (truth / "quality.png").is_file()
    with pytest.raises(UserError, match="give the truth of the same clip"):
        evaluate(options(fresh_clip, fit="truth", truth=sample_clip_two.fit_folder("truth")))


def test_weaknesses_are_told(fresh_clip: Clip) -> None:
    for index in range(fresh_clip.frames):
        write_image(fresh_clip.mask_path("foreground", index), np.zeros((fresh_clip.height, fresh_clip.width), np.uint8))
    report = evaluate(options(fresh_clip, fit="truth"))
    assert [weakness["kind"] for weakness in report["weaknesses"]] == ["masks_empty"]
    assert "weak: the masks of foreground are as good as empty" in table(report)


def test_an_edit_that_changes_nothing(fresh_clip: Clip, sample: Sample) -> None:
    edit = make_edit(fresh_clip, to_uint8(sample.atlases["foreground"]))
    for index in (2, 9):
        opaque = np.full((*sample.frames[index].shape[:2], 1), 255, np.uint8)
        write_image(edit.keyframe_path("foreground", index), np.concatenate([sample.frames[index], opaque], -1))
    report = evaluate(options(fresh_clip, edit="paint"))
    found = report["edit"]
    assert report["fit"] == "truth"
    for name in ("warp_error", "long_term_warp_error", "pixel_mse"):
        assert found[name]["ratio"] == 1 and found[name]["edit"] > 0
    assert found["keyframe_fidelity"] == {"foreground": 0}
    assert found["coverage"]["foreground"] > 0.95  # alpha of the true atlas: where it was ever seen
    assert found["oracle"] is None
    assert "weights" in report["absent"]["lpips"]
    text = table(report)
    assert "warp error" in text and "lpips, lpips_from_source: absent, needs its weights" in text
    assert read_json(edit.folder / "metrics.json")["coverage"] == found["coverage"]


def test_it_is_rendered_as_it_was_asked_for(fresh_clip: Clip, sample: Sample) -> None:
    painted = sample.atlases["foreground"].copy()
    painted[..., :3] = 0.3 + 0.5 * painted[..., [2, 0, 1]]
    make_edit(fresh_clip, to_uint8(painted))
    changes = ({}, {"mode": "full"}, {"transfer": "additive"}, {"light": "off"})
    found = [evaluate(options(fresh_clip, edit="paint", **change))["edit"] for change in changes]
    assert [one["mode"] for one in found] == ["delta", "full", "delta", "delta"]
    assert len({one["changed"] for one in found}) == 4


def test_a_damaged_oracle_is_none(fresh_clip: Clip, sample: Sample) -> None:
    edit = make_edit(fresh_clip, to_uint8(sample.atlases["foreground"]))
    write_json(edit.folder / "oracle.json", [1, 2])
    assert evaluate(options(fresh_clip, edit="paint"))["edit"]["oracle"] is None


def test_coverage_and_fidelity_are_the_share_and_the_distance(fresh_clip: Clip, sample: Sample) -> None:
    atlas = to_uint8(sample.atlases["foreground"])
    atlas[..., 3] = 0
    edit = make_edit(fresh_clip, atlas)
    keyframe = np.full((*sample.frames[0].shape[:2], 4), 255, np.uint8)
    write_image(edit.keyframe_path("foreground", 4), keyframe)
    found = evaluate(options(fresh_clip, edit="paint"))["edit"]
    assert found["coverage"]["foreground"] == 0
    mask = Maps(fresh_clip.fit_folder("truth")).opacity("foreground", 4) > 0.5
    expected = float((1 - sample.frames[4][mask] / 255).mean())
    assert found["keyframe_fidelity"]["foreground"] == pytest.approx(expected, abs=1e-5)


def test_an_edited_atlas_is_about_as_steady_as_the_source(fresh_clip: Clip, sample: Sample) -> None:
    """Frames cannot flicker through an atlas; what flicker amounts to stands in test_known_motion.py."""
    atlas = sample.atlases["background"].copy()
    atlas[..., :3] *= 0.8
    edit = Edit(fresh_clip.edit_folder("dim"), "dim", "truth", {"background": {"editor": "atlas"}})
    edit.save()
    write_image(edit.atlas_path("background"), to_uint8(atlas))
    assert 0.5 < evaluate(options(fresh_clip, edit="dim"))["edit"]["warp_error"]["ratio"] < 1.1


def on_frames(clip: Clip, name: str, layer: str) -> Edit:
    """An edit of every frame: a little darker."""
    request = {"editor": "filter", "on": "frames", "frames": [*range(clip.frames)]}
    edit = Edit(clip.edit_folder(name), name, "truth", {layer: request})
    edit.save()
    for index in range(clip.frames):
        opacity = 1 if layer == "all" else Maps(clip.fit_folder("truth")).opacity(layer, index)
        alpha = np.full((clip.height, clip.width), 255 * opacity, np.uint8)
        write_image(edit.keyframe_path(layer, index), np.dstack([clip.frame(index) // 2, alpha]))
    return edit


def test_frames_that_were_edited_themselves(fresh_clip: Clip) -> None:
    """They have neither coverage nor fidelity, and that is not 0; all else is measured."""
    on_frames(fresh_clip, "dark", "foreground")
    report = evaluate(options(fresh_clip, edit="dark"))
    found = report["edit"]
    assert found["mode"] == "frames" and 0 < found["warp_error"]["ratio"] < 1
    assert found["coverage"] == found["keyframe_fidelity"] == {}
    for name in ("coverage", "keyframe_fidelity"):
        assert report["absent"][name] == "every frame of foreground was edited: none is reached from another"
    overlap = found["keyframe_overlap"]["foreground"]
    assert overlap["edited"] == pytest.approx(overlap["source"] / 2, rel=0.1)
    assert report["reconstruction"]["whole"]["psnr"] > 45
    text = table(report)
    assert "coverage, keyframe_fidelity: absent, every frame" in text and "fit truth" in text


def test_whole_frames_without_a_fit(fresh_clip: Clip) -> None:
    on_frames(fresh_clip, "dark", "all")
    shutil.rmtree(fresh_clip.folder / "fits")
    report = evaluate(options(fresh_clip, edit="dark"))
    assert report["fit"] is None and "reconstruction" not in report
    assert report["edit"]["warp_error"]["ratio"] == pytest.approx(0.25, abs=0.02)  # half of everything, squared
    assert report["edit"]["coverage"] == report["edit"]["keyframe_overlap"] == {}
    assert report["absent"]["coverage"] == "every frame was edited: none is reached from another"
    text = table(report)
    assert "no fit" in text and "reconstruction: absent, whole frames were edited without a fit" in text
    page = write_report(options(fresh_clip, edit="dark", report=True), report).read_text(encoding="utf-8")
    assert "Numbers" not in page and "The fit it stands on" not in page and "The edit" in page
    for changes, said in (
        ({"truth": fresh_clip.folder}, "--truth is compared with a fit"),
        ({"points": fresh_clip.folder / "points.csv"}, "--points are followed through a fit"),
        ({"fit": "other"}, "has no fit"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate(options(fresh_clip, edit="dark", **changes))


def test_whole_frames_beside_a_fit(fresh_clip: Clip) -> None:
    on_frames(fresh_clip, "dark", "all")
    report = evaluate(options(fresh_clip, edit="dark"))
    assert (
        report["fit"] == "truth" and report["reconstruction"]["whole"]["psnr"] > 45 and "reconstruction" not in report["absent"]
    )


def test_json_on_standard_output_and_nothing_else(fresh_clip: Clip) -> None:
    command = [sys.executable, str(SCRIPT), str(fresh_clip.folder), "--fit", "truth", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["frames"] == fresh_clip.frames
    missing = subprocess.run([*command, "--edit", "none"], capture_output=True, text=True)
    assert missing.returncode == 2 and missing.stdout == ""
    assert missing.stderr.startswith("error: ") and missing.stderr.count("\n") == 1


def test_what_cannot_be_evaluated(fresh_clip: Clip, sample: Sample) -> None:
    with pytest.raises(UserError, match="has no fit .default. .its fits: truth"):
        evaluate(options(fresh_clip))
    make_edit(fresh_clip, to_uint8(sample.atlases["foreground"]))
    with pytest.raises(UserError, match="stands on the fit 'truth', not 'other'"):
        evaluate(options(fresh_clip, edit="paint", fit="other"))


def test_costs_are_kept_by_stage(tmp_path: Path) -> None:
    with measured(tmp_path / "new", "one") as cost:
        cost["frames"] = 7
    with measured(tmp_path / "new", "two"):
        sum(i * i for i in range(200_000))
    costs = read_costs(tmp_path / "new")
    assert list(costs) == ["one", "two"]
    assert costs["one"]["frames"] == 7
    assert costs["two"]["cpu_seconds"] >= 0 and costs["two"]["wall_seconds"] > 0 and costs["two"]["cpus"] >= 1
    with pytest.raises(KeyError), measured(tmp_path / "new", "failed"):
        raise KeyError
    assert "failed" not in read_costs(tmp_path / "new")
    assert read_costs(tmp_path) == {}


def test_a_fit_is_measured_anew_only_where_something_of_it_has_changed(fresh_clip: Clip) -> None:
    folder = fresh_clip.fit_folder("truth")
    first = evaluate(options(fresh_clip, fit="truth"))
    written = (folder / "metrics.json").read_bytes()
    (folder / "quality.png").write_bytes(b"as it was")  # what is not measured again is not drawn again
    assert evaluate(options(fresh_clip, fit="truth")) == first
    assert (folder / "metrics.json").read_bytes() == written and (folder / "quality.png").read_bytes() == b"as it was"

    write_json(folder / "metrics.json", read_json(folder / "metrics.json") | {"reconstruction": {"whole": "none"}})
    assert evaluate(options(fresh_clip, fit="truth")) == first
    assert (folder / "metrics.json").read_bytes() == written

    write_image(fresh_clip.mask_path("foreground", 3), np.zeros((fresh_clip.height, fresh_clip.width), np.uint8))
    again = evaluate(options(fresh_clip, fit="truth"))
    assert (
        again["reconstruction"]["layers"]["foreground"]["mask_iou"]
        < first["reconstruction"]["layers"]["foreground"]["mask_iou"]
    )
