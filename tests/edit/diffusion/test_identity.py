"""What made a picture is in the name under which it is kept: every option that changes it, and every file's content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from atlas.errors import UserError
from atlas.storage.images import write_image
from atlas.storage.stamps import digest
from edit.diffusion.sources import Sources
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions
from tests.edit import tiny

COUNTS: dict[str, Any] = {
    "negative": "a dog",
    "strategy": "random",
    "strength": 0.5,
    "hold": 0.3,
    "steps": 3,
    "guidance": 5.0,
    "prediction_type": "v_prediction",
    "clip_skip": 2,
    "control_scale": (0.5,),
    "control_start": (0.2,),
    "control_end": (0.8,),
    "steady_controls": True,
    "canny": (50, 100),
    "image_prompt_scale": 0.5,
    "scheduler": "unipc",
    "karras": True,
    "timestep_spacing": "trailing",
    "resolution": 128,
    "dtype": "bfloat16",
    "vae_tiling": True,
}
"""Options that change the picture by themselves, each with a value that is not the usual one."""
LOADED = (
    "image_prompt_scale", "prediction_type", "scheduler", "karras", "timestep_spacing", "dtype", "vae_tiling",
)  # fmt: skip
"""Those of them that say how a model is loaded."""
NEVER_COUNTS: dict[str, Any] = {"offline": False, "offload": "model", "vae_slicing": True, "compile": True}
FILES = ("model", "controlnet", "vae", "lora", "textual_inversion", "image_prompt", "ip_adapter", "depth_model", "softedge")
"""Options that name a file or a folder, of which the content counts and not the name."""
ELSEWHERE = {
    "prompt": "of each keyframe",
    "prompt_at": "of each keyframe",
    "control": "the controls' files and their order",
    "control_images": "of each frame",
    "poses": "of each frame",
    "pose_window": "of each frame",
    "model_config": "with a single file",
}
"""Options whose effect `Sources.control_identity`, the editors' own keys or other tests hold."""


@pytest.fixture
def identity(models: Path) -> Callable[..., Any]:
    """Everything that decides a picture beside prompt, frame and fit, for options of the tiny model."""

    def of(**changes: Any) -> Any:
        given: dict[str, Any] = {"prompt": "a cat", "model": str(models / "sd"), "controlnet": (str(models / "controlnet-sd"),)}
        return Sources(DiffusionOptions(**(given | {"offline": True} | changes)), "cpu").identity()

    return of


def test_every_option_is_looked_at() -> None:
    assert {field.name for field in fields(DiffusionOptions)} == {*COUNTS, *NEVER_COUNTS, *FILES, *ELSEWHERE}


def test_options_that_change_the_picture_count(identity: Callable[..., Any]) -> None:
    usual = identity()
    assert usual == identity()
    assert [name for name, value in COUNTS.items() if identity(**{name: value}) == usual] == []
    assert [name for name, value in NEVER_COUNTS.items() if identity(**{name: value}) != usual] == []


def test_options_that_are_loaded_reach_what_is_loaded(tmp_path: Path) -> None:
    def loaded(**changes: Any) -> Weights:
        given = {"prompt": "a word", "image_prompt": tmp_path / "look.png", "offline": True}
        return Weights.of(DiffusionOptions(**(given | changes)), torch.device("cpu"))

    for name in ("one.safetensors", "word.safetensors"):
        (tmp_path / name).write_bytes(b"")
    changed: dict[str, Any] = {name: COUNTS[name] for name in LOADED} | NEVER_COUNTS
    changed |= dict.fromkeys(("model", "model_config", "vae", "ip_adapter"), "another/one")
    changed |= {"controlnet": ("another/one",), "lora": (f"{tmp_path / 'one.safetensors'}:0.5",)}
    changed |= {"textual_inversion": (f"{tmp_path / 'word.safetensors'}:word",)}
    assert [name for name, value in changed.items() if loaded(**{name: value}) == loaded()] == []


def test_the_content_of_files_counts_and_not_their_names(identity: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    from tests.edit.controls.test_soft_edges import tiny_weights

    first = tmp_path / "first"
    shutil.copytree(models / "sd", first / "sd")
    shutil.copytree(models / "controlnet-sd", first / "net")
    tiny.save_lora(first / "lora.safetensors")
    save_file({"emb_params": torch.ones(1, 8)}, first / "word.safetensors")
    write_image(first / "look.png", np.full((8, 8, 3), 100, np.uint8))
    adapter = tiny.save_ip_adapter(first / "adapter", models / "sd").relative_to(first)
    tiny.save_depth(first / "depth")
    save_file(tiny_weights(), first / "hed.safetensors")
    shutil.copytree(first, tmp_path / "moved")

    def all_of(folder: Path) -> Any:
        return identity(
            prompt="a word",
            model=str(folder / "sd"),
            control=("canny", "depth", "softedge"),
            controlnet=(str(folder / "net"),) * 3,
            vae=str(folder / "sd" / "vae"),
            lora=(str(folder / "lora.safetensors"),),
            textual_inversion=(f"{folder / 'word.safetensors'}:word",),
            image_prompt=folder / "look.png",
            ip_adapter=str(folder / adapter),
            depth_model=str(folder / "depth"),
            softedge=folder / "hed.safetensors",
        )

    usual = all_of(first)
    assert all_of(tmp_path / "moved") == usual
    unseen = []
    for path in sorted(p for p in (tmp_path / "moved").rglob("*") if p.suffix in (".safetensors", ".png")):
        content = path.read_bytes()
        if path.suffix == ".png":
            write_image(path, np.full((8, 8, 3), 101, np.uint8))
        else:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        if all_of(tmp_path / "moved") == usual:
            unseen.append(str(path.relative_to(tmp_path / "moved")))
        path.write_bytes(content)
    assert unseen == []


def test_control_images_count_as_they_are_seen(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "own" / "00003.png"
    write_image(file, np.zeros((64, 96, 3), np.uint8))
    for given, frame in ((file.parent, 3), (file, None)):
        options = DiffusionOptions(
            prompt="a cat", model=str(models / "sd"), control=("images",), controlnet=(str(models / "controlnet-sd"),),
            control_images=given, offline=True,
        )  # fmt: skip
        sources = Sources(options, "cpu")
        if frame is not None:
            sources.open_controls(96, 64, 12.0, [frame])
        # By the file alone, pictures made before turns, profiles and alpha were looked at would pass for new ones.
        assert sources.control_identity(frame) not in (None, digest(file))


def test_an_ip_adapter_without_its_image_encoder_is_refused(identity: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(b"")
    write_image(tmp_path / "look.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="image_encoder is missing: an IP-Adapter's image encoder lies beside it"):
        identity(image_prompt=tmp_path / "look.png", ip_adapter=str(tmp_path / "adapter.safetensors"))
