"""Control images of every kind through the edit stage, with tiny models: what is drawn, what is made again, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image, write_image
from atlas.system.command import parse_options
from edit.controls.drawing import draw_poses
from edit.controls.poses import Poses
from edit.diffusion.conditions import canny
from edit.diffusion.crop import Crop
from edit.diffusion.sources import Sources
from edit.editors import EditOptions
from edit.record import EditResult
from edit.stage import edit
from tests.edit import tiny
from tests.edit.controls.bodies import BODY, write_pose
from tests.edit.controls.test_soft_edges import tiny_weights

Make = Callable[..., EditOptions]
CROP = Crop(8, 16, 56, 80, 128, 192)


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """Somebody who walks through the sample clip's 12 frames of 96x64, in OpenPose's files."""
    for frame in range(12):
        write_pose(tmp_path / "poses" / f"walk_{frame:012d}_keypoints.json", BODY / 2 + [30 + 2 * frame, 20])
    return tmp_path / "poses"


@pytest.fixture
def hed(tmp_path: Path) -> Path:
    save_file(tiny_weights(), tmp_path / "hed.safetensors")
    return tmp_path / "hed.safetensors"


@pytest.fixture
def nets(models: Path, tmp_path: Path) -> tuple[str, str]:
    """Two ControlNets of different weights."""
    return str(models / "controlnet-sd"), str(tiny.save_controlnet(tmp_path / "controlnet", "sd", seed=8))


def images(result: EditResult) -> list[np.ndarray]:
    return [read_image(result.edit.keyframe_path(result.layer, index)) for index in (0, 6, 11)]


def made(result: EditResult) -> set[str]:
    return {path.name for path in result.edit.cache_folder(result.layer).glob("*.png")}


def test_controls_are_made_in_their_order(
    sample_clip: Clip, prompted: Make, nets: tuple[str, str], poses: Path, hed: Path, tmp_path: Path
) -> None:
    own = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    alpha = np.repeat(np.uint8([0, 255]), 32)[:, None] * np.ones((1, 96), np.uint8)
    write_image(tmp_path / "own" / "00003.png", np.dstack([own, alpha]))
    own[:32] = 0  # what alpha hides is no line to follow
    options = prompted(
        sample_clip,
        control=("pose", "images", "softedge", "canny"),
        controlnet=nets * 2,
        poses=poses,
        softedge=hed,
        control_images=tmp_path / "own",
    )
    sources = Sources(options, "cpu")
    sources.open_controls(96, 64, sample_clip.fps, [3])
    picture = CROP.cut(sample_clip.frame(3))
    pose, mine, soft, edges = sources.controls(picture, CROP, 3)
    people = Poses(poses, 96, 64, 7).at(3)
    scaled = (people - [CROP.left, CROP.top]) * [192 / 64, 128 / 48]
    assert pose.any() and np.array_equal(pose, draw_poses(scaled, 128, 192))
    assert np.array_equal(mine, CROP.cut(own)) and np.array_equal(edges, canny(picture))
    assert soft.shape == picture.shape and soft.dtype == np.uint8 and soft.std() > 3


def test_an_edit_follows_poses_and_edges(fresh_clip: Clip, prompted: Make, nets: tuple[str, str], poses: Path) -> None:
    more: dict[str, Any] = {"control": ("canny", "pose"), "controlnet": nets, "poses": poses}
    result = edit(prompted(fresh_clip, **more))
    before, cached = images(result), made(result)
    assert edit(prompted(fresh_clip, **more)).up_to_date and len(cached) == 3
    write_pose(poses / "walk_000000000003_keypoints.json", BODY / 2 + [50, 22])  # in the windows of 0 and 6
    again = edit(prompted(fresh_clip, **more, strategy="random"))
    assert not np.array_equal(images(again)[0], before[0])  # at the start the window lies after the frame
    swapped = edit(prompted(fresh_clip, name="swapped", **(more | {"control": ("pose", "canny")})))
    assert not np.array_equal(images(swapped)[1], before[1])
    alone = edit(prompted(fresh_clip, name="alone", controlnet=nets[:1]))
    assert not np.array_equal(images(alone)[1], before[1])


def test_only_keyframes_whose_poses_changed_are_made_again(
    fresh_clip: Clip, prompted: Make, nets: tuple[str, str], poses: Path
) -> None:
    more: dict[str, Any] = {"control": ("pose",), "controlnet": nets[:1], "poses": poses, "strategy": "random"}
    first = made(edit(prompted(fresh_clip, **more)))
    write_pose(poses / "walk_000000000008_keypoints.json", BODY / 2 + [50, 22])
    second = made(edit(prompted(fresh_clip, **more)))
    assert len(first) == 3 and len(second - first) == 2 and first < second  # 6 and 11 see frame 8, 0 does not
    shutil.copytree(poses, poses.parent / "moved")
    assert made(edit(prompted(fresh_clip, **(more | {"poses": poses.parent / "moved"})))) == second
    raw = made(edit(prompted(fresh_clip, **more, pose_window=0)))
    assert len(raw - second) >= 1  # what walks straight on is the same with and without smoothing, but for frame 8's step


def test_an_edit_follows_soft_edges(fresh_clip: Clip, prompted: Make, nets: tuple[str, str], hed: Path) -> None:
    more: dict[str, Any] = {"control": ("softedge",), "controlnet": nets[:1], "softedge": hed}
    first = images(edit(prompted(fresh_clip, **more)))
    save_file(tiny_weights(seed=1), hed)
    second = images(edit(prompted(fresh_clip, **more)))
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    atlas = edit(prompted(fresh_clip, layer="background", keyframes=None, **more))
    assert atlas.edit.atlas_path("background").is_file()


@pytest.fixture
def depth(tmp_path: Path, nets: tuple[str, str]) -> dict[str, Any]:
    """Options of an edit that is held to depth."""
    tiny.save_depth(tmp_path / "depth")
    return {"control": ("depth",), "depth_model": str(tmp_path / "depth"), "controlnet": nets[:1]}


def test_steady_controls_of_keyframes(fresh_clip: Clip, prompted: Make, depth: dict[str, Any]) -> None:
    more = depth | {"strategy": "random"}
    plain = edit(prompted(fresh_clip, name="plain", **more))
    steady = edit(prompted(fresh_clip, **more, steady_controls=True))
    assert not any(np.array_equal(a, b) for a, b in zip(images(plain), images(steady), strict=True))
    assert len(made(steady)) == 3
    fewer = edit(prompted(fresh_clip, **more, steady_controls=True, keyframes="0,6"))
    assert len(made(fewer)) == 5  # what agrees with fewer others is made again
    assert edit(prompted(fresh_clip, **more, steady_controls=True, keyframes="0,6")).up_to_date
    assert not list(fewer.edit.cache_folder("foreground").glob("*.bin*"))


def test_steady_controls_and_poses_of_all_frames(
    fresh_clip: Clip, prompted: Make, nets: tuple[str, str], poses: Path, depth: dict[str, Any]
) -> None:
    frames: dict[str, Any] = {"layer": "all", "on": "frames", "recipe": "fixed", "keyframes": None, "poses": poses}
    frames |= depth | {"control": ("depth", "pose"), "controlnet": nets}
    found = []
    for name, steady in (("plain", False), ("steady", True), ("again", True)):
        result = edit(prompted(fresh_clip, name=name, steady_controls=steady, **frames))
        found.append([read_image(result.edit.keyframe_path("all", index)) for index in range(fresh_clip.frames)])
        assert not list(result.edit.folder.rglob("*.bin*"))
    plain, steadied, again = (np.stack(pictures) for pictures in found)
    assert np.array_equal(steadied, again) and not any(np.array_equal(a, b) for a, b in zip(plain, steadied, strict=True))
    (poses / "walk_000000000008_keypoints.json").unlink()
    with pytest.raises(UserError, match=r"poses has no file of frame 8: add 00008\.json \(found: 0, 1, 2 and 8 more\)"):
        edit(prompted(fresh_clip, name="hole", **frames))
    assert not fresh_clip.edit_folder("hole").exists()
    with pytest.raises(UserError, match=r"has no fit 'none' \(its fits: truth\)"):
        edit(prompted(fresh_clip, name="unfitted", fit="none", steady_controls=True, **frames))


def test_missing_poses_are_told_before_weights_load(fresh_clip: Clip, prompted: Make, models: Path, poses: Path) -> None:
    shutil.copytree(models / "sd", poses.parent / "sd")
    (poses.parent / "sd" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not to be loaded")
    more: dict[str, Any] = {"control": ("pose",), "model": str(poses.parent / "sd")}
    for frame in (6, 7, 11):
        (poses / f"walk_{frame:012d}_keypoints.json").unlink()
    with pytest.raises(UserError, match=r"poses has no file of frame 6 and 11: add 00006\.json") as problem:
        edit(prompted(fresh_clip, poses=poses, **more))
    assert "\n" not in str(problem.value)
    for path in poses.iterdir():
        write_pose(path)
    with pytest.raises(UserError, match="poses holds nobody"):
        edit(prompted(fresh_clip, poses=poses, keyframes="0", **more))
    assert not (fresh_clip.folder / "edits").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"control": ("pose",)}, "--control pose and --poses DIR belong together: give both or none"),
        ({"poses": "{tmp}/poses"}, "--control pose and --poses DIR belong together"),
        ({"control": ("softedge",)}, "--control softedge and --softedge FILE belong together"),
        ({"control": ("pose",), "poses": "{tmp}/none"}, "--poses .*none is missing: check the path"),
        ({"control": ("pose",), "poses": "{tmp}/hed.safetensors"}, "--poses .* is no folder: give the folder"),
        ({"control": ("softedge",), "softedge": "{tmp}/poses"}, "--softedge .*poses is no .safetensors file"),
        ({"control": ("softedge",), "softedge": "{models}/controlnet-sd/diffusion_pytorch_model.safetensors"}, "HED network"),
        ({"pose_window": 7}, "--pose-window is for --control pose"),
        (
            {"control": ("pose",), "poses": "{tmp}/poses", "pose_window": 8},
            "--pose-window 8 is no window: choose an odd number",
        ),
        ({"control": ("pose",), "poses": "{tmp}/poses", "pose_window": -7}, "--pose-window -7 is no window"),
        (
            {"control": ("pose",), "poses": "{tmp}/poses", "on": "atlas", "keyframes": None},
            "--control pose follows frames, and",
        ),
        (
            {"control": ("pose",), "poses": "{tmp}/poses", "controlnet": (), "model": "{models}/xl"},
            "--control pose has no usual",
        ),
        (
            {"control": ("softedge",), "softedge": "{tmp}/hed.safetensors", "controlnet": ()},
            "control_v11p_sd15_softedge is not",
        ),
        ({"control": ("pose",), "poses": "{tmp}/poses", "controlnet": ()}, "lllyasviel/control_v11p_sd15_openpose is not in"),
        ({"steady_controls": True}, "--steady-controls has nothing to steady: it is for --control depth, softedge, images"),
        ({"control": ()}, "--control is empty: choose one of canny, depth, pose, softedge, images"),
    ],
)
def test_wrong_requests_write_nothing(
    fresh_clip: Clip, prompted: Make, models: Path, poses: Path, hed: Path, changes: dict[str, Any], said: str
) -> None:
    def filled(value: Any) -> Any:
        if not isinstance(value, str) or "{" not in value:
            return value
        text = value.replace("{tmp}", str(poses.parent)).replace("{models}", str(models))
        return text if text.endswith("xl") else Path(text)

    with pytest.raises(UserError, match=said) as problem:
        edit(prompted(fresh_clip, **{name: filled(value) for name, value in changes.items()}))
    assert "\n" not in str(problem.value)
    assert not (fresh_clip.folder / "edits").exists()


def test_a_cached_picture_depends_on_all_that_made_it(
    sample_clip: Clip, prompted: Make, models: Path, tmp_path: Path, depth: dict[str, Any]
) -> None:
    adapter = tiny.save_ip_adapter(tmp_path / "adapter", models / "sd")
    write_image(tmp_path / "look.png", np.zeros((8, 8, 3), np.uint8))
    net = Path(shutil.copytree(models / "controlnet-sd", tmp_path / "net"))
    (net / "diffusion_pytorch_model.safetensors").rename(net / "canny.safetensors")
    single = tiny.save_single_file(models / "sd", tmp_path / "one.safetensors")
    described = Path(shutil.copytree(models / "sd", tmp_path / "described"))

    def identity(**changes: Any) -> dict[str, Any]:
        return Sources(prompted(sample_clip, **changes), "cpu").identity()

    def spaced(file: Path) -> None:
        file.write_text(file.read_text() + " ")

    given: dict[str, Any] = {"image_prompt": tmp_path / "look.png", "ip_adapter": str(adapter)}
    write_image(tmp_path / "look.png", np.dstack([np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=np.uint8) * 255]))
    seen = Sources(prompted(sample_clip, **given), "cpu").image_prompt()
    assert seen is not None and np.array_equal(seen[..., 0], np.where(np.eye(8), 90, 255))  # a cut-out, over white
    for changes, file in (
        (given, tmp_path / "adapter" / "image_encoder" / "config.json"),
        ({"controlnet": (str(net / "canny.safetensors"),)}, net / "config.json"),
        ({"model": str(single), "model_config": str(described)}, described / "vae" / "config.json"),
    ):
        before = identity(**changes)
        assert identity(**changes) == before
        spaced(file)
        assert identity(**changes) != before
    plain = identity()
    assert set(plain) == {"model", "strategy", "steps", "weights", "loras", "image", "precision"} - {"model"}
    for prompt in ("a (cat:1.2)", "a BREAK cat", r"a \(cat"):
        assert identity(prompt=prompt)["notation"] == 1
    assert "stepped" in identity(scheduler="lms")  # its pictures were others once
    metres = identity(**depth)
    file = Path(depth["depth_model"]) / "config.json"
    file.write_text(file.read_text().replace("{", '{"depth_estimation_type": "metric",', 1))
    assert "depth" in identity(**depth) and "depth" not in metres
    scheduler = described / "scheduler" / "scheduler_config.json"
    scheduler.write_text('{"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085}')
    assert identity(model=str(described))["schedule"]["clip_sample"] is False


def test_a_model_that_changed_is_loaded_again(sample_clip: Clip, prompted: Make, models: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(models / "sd", tmp_path / "sd"))
    options = prompted(sample_clip, model=str(model))
    first = Sources(options, "cpu").model()
    assert Sources(options, "cpu").model() is first
    shutil.rmtree(model)
    tiny.save_pipeline(model, seed=9)
    assert Sources(options, "cpu").model() is not first


def test_the_options_of_the_command(sample_clip: Clip, poses: Path) -> None:
    arguments = [str(sample_clip.folder), "--name", "x", "--layer", "foreground", "--editor", "diffusion", "--prompt", "a cat"]
    arguments += ["--control", "pose", "softedge", "--poses", str(poses), "--pose-window", "5", "--softedge", "x.safetensors"]
    options = parse_options(EditOptions, [*arguments, "--steady-controls"])
    assert options.control == ("pose", "softedge") and options.poses == poses and options.pose_window == 5
    assert options.softedge == Path("x.safetensors") and options.steady_controls
