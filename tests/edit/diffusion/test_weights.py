"""Loading from folders and files, what goes on top, and every reason why it cannot be."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from atlas.errors import UserError
from atlas.weights.hub import fetch_command, fingerprint, located
from edit.diffusion.denoise import Start, denoise, draw
from edit.diffusion.weights import load
from edit.models.weights import Weights
from edit.request.prompting import CONTROLNETS, MODEL, DiffusionOptions
from tests.edit import tiny

CONTROL = (np.random.default_rng(0).random((64, 64, 3)) > 0.8).astype(np.uint8) * 255


def weights(models: Path, **changes: Any) -> Weights:
    given: dict[str, Any] = {"prompt": "a cat", "model": str(models / "sd"), "controlnet": (str(models / "controlnet-sd"),)}
    return Weights.of(DiffusionOptions(**(given | {"offline": True} | changes)), torch.device("cpu"))


def picture(wanted: Weights, image_prompt: np.ndarray | None = None, guidance: float = 9.0) -> np.ndarray:
    model = load(wanted)
    controls = [CONTROL] * len(wanted.controlnets)
    model.condition("a cat", "", controls, [1.0] * len(controls), guidance, image_prompt)
    generator = torch.Generator().manual_seed(1)
    made = model.decode(denoise(model, Start(draw(model.latent_shape(64, 64), generator), generator), steps=2))
    assert made is not None
    return made


def test_a_single_file_is_the_same_model(models: Path, tmp_path: Path) -> None:
    base = picture(weights(models))
    file = tiny.save_single_file(models / "sd", tmp_path / "one.safetensors")
    assert np.array_equal(picture(weights(models, model=str(file), model_config=str(models / "sd"))), base)
    shutil.copytree(models / "controlnet-sd", tmp_path / "net")
    (tmp_path / "net" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "net" / "canny.safetensors")
    assert np.array_equal(picture(weights(models, controlnet=(str(tmp_path / "net" / "canny.safetensors"),))), base)


def test_equal_weights_are_loaded_once(models: Path) -> None:
    assert load(weights(models)) is load(weights(models))
    assert load(weights(models)).scheduler.__class__.__name__ == "DDIMScheduler"
    assert load(weights(models, scheduler="unipc")).scheduler.__class__.__name__ == "UniPCMultistepScheduler"


def test_what_goes_on_top_changes_the_picture(models: Path, tmp_path: Path) -> None:
    base = picture(weights(models))
    lora = tiny.save_lora(tmp_path / "a.safetensors")
    assert np.array_equal(picture(weights(models, lora=(f"{lora}:0",))), base)
    half, full = (picture(weights(models, lora=(f"{lora}:{scale}",))) for scale in (0.5, 1))
    assert not np.array_equal(half, base) and not np.array_equal(half, full)
    net = str(models / "controlnet-sd")
    assert not np.array_equal(picture(weights(models, controlnet=(net, net), control=("canny", "canny"))), base)


def test_an_image_prompt(models: Path, tmp_path: Path) -> None:
    adapter = tiny.save_ip_adapter(tmp_path / "adapter", models / "sd")
    prompt = tmp_path / "look.png"
    prompt.write_bytes(b"")
    with_look = weights(models, image_prompt=prompt, ip_adapter=str(adapter))
    looks = [picture(with_look, np.full((40, 50, 3), grey, np.uint8)) for grey in (20, 200)]
    base = picture(weights(models))
    assert not np.array_equal(*looks) and not np.array_equal(looks[0], base)
    scaled = [
        picture(replace(with_look, image_prompt_scale=scale), np.full((40, 50, 3), 20, np.uint8)) for scale in (0, 0.6, 2)
    ]
    assert np.array_equal(scaled[1], looks[0]), "0.6 is what counts where no scale is given"
    away = [np.abs(one - base).mean() for one in scaled]
    assert away[0] < 1e-5 < away[1] < away[2]
    with pytest.raises(UserError, match="the IP-Adapter .* cannot be used with this model"):
        load(
            weights(
                models,
                model=str(models / "xl"),
                controlnet=(str(models / "controlnet-xl"),),
                image_prompt=prompt,
                ip_adapter=str(adapter),
            )
        )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(models: Path, dtype: str) -> None:
    # Guidance multiplies the difference of two predictions, which without training is mostly rounding.
    base, half = (picture(weights(models, dtype=kind), guidance=1.5) for kind in ("float32", dtype))
    assert 0 < np.abs(half - base).max() < 0.05


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": MODEL}, "the model stable-diffusion.* is not in the cache.* hf download stable"),
        ({"controlnet": (CONTROLNETS["canny"],)}, "hf download lllyasviel/control_v11p_sd15_canny config.json"),
        ({"model": "no/such/folder"}, "no/such/folder is no folder, no file and no hub id"),
        ({"model": "{models}"}, "is no model \\(it has no model_index.json\\)"),
        ({"controlnet": ("{models}/sd",)}, "is no ControlNet \\(it has no config.json\\)"),
        ({"controlnet": ("{models}/controlnet-xl",)}, "is of another family than the model .*cross_attention_dim 32, not 8"),
        ({"controlnet": ("{models}/sd/vae",)}, "sd.vae holds a network of the kind AutoencoderKL, no ControlNet"),
        ({"lora": ("{tmp}/wide.safetensors",)}, "the LoRA .*wide.safetensors does not fit the model"),
        ({"lora": ("{tmp}/other.safetensors",)}, "other.safetensors holds .*, which is no LoRA's weight"),
        ({"model": "{tmp}/other.safetensors"}, "other.safetensors is a ControlNet .*: --model takes Stable Diffusion"),
        ({"model": "{tmp}/model.ckpt"}, "other formats can hold programs and are not read"),
        ({"model": "{tmp}/flux"}, "is a FluxPipeline: this editor takes Stable Diffusion"),
        ({"model": "{tmp}/broken"}, "broken cannot be loaded as a model"),
        ({"offload": "model"}, "--offload model moves networks off a GPU"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded(models: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    tiny.save_lora(tmp_path / "wide.safetensors", width=12)
    shutil.copy(models / "controlnet-sd" / "diffusion_pytorch_model.safetensors", tmp_path / "other.safetensors")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    (tmp_path / "flux").mkdir()
    (tmp_path / "flux" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    shutil.copytree(models / "sd", tmp_path / "broken")
    (tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut short")

    def filled(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(filled, value))
        return value.replace("{models}", str(models)).replace("{tmp}", str(tmp_path))

    with pytest.raises(UserError, match=said) as problem:
        load(weights(models, **{name: filled(value) for name, value in changes.items()}))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "  "}, "the prompt is empty"),
        ({"strength": 1.2}, "--strength 1.2 is out of range: choose from 0 to 1"),
        ({"hold": float("nan")}, "--hold nan is out of range"),
        ({"steps": 0}, "--steps 0 is out of range"),
        ({"resolution": 500}, "--resolution 500 does not suit the model"),
        ({"prompt_at": ("red",)}, "--prompt-at 'red' is not understood"),
        ({"prompt_at": ("9" * 5000 + ":red",)}, "--prompt-at '9+:red' is not understood"),  # Python reads no such number
        ({"control_scale": (float("nan"),)}, "--control-scale nan is out of range: choose from 0 to 10"),
        ({"image_prompt_scale": float("inf")}, "--image-prompt-scale inf is out of range: choose from 0 to 10"),
        ({"lora": ("missing.safetensors:" + "9" * 100,)}, "--lora missing.safetensors:9+ is missing"),  # no weight
        ({"lora": ("missing.safetensors:0.5",)}, "--lora missing.safetensors is missing"),
        ({"control": ("images",)}, "--control images needs --controlnet"),
        ({"controlnet": ("a/b", "c/d")}, "2 ControlNets for 1 controls"),
        ({"control_images": Path("x")}, "--control images and --control-images DIR belong together"),
        ({"control_scale": (1.0, 1.0)}, "one --control-scale for each"),
        ({"image_prompt": Path("missing.png")}, "--image-prompt missing.png is missing"),
        ({"canny": (200, 100)}, "the lower threshold comes first"),
        ({"control_start": (0.5,), "control_end": (0.5,)}, "--control-start 0.5 is not before --control-end 0.5"),
        ({"control_end": (1.5,)}, "--control-end 1.5 is out of range: choose from 0 to 1"),
        ({"control_start": (0.1, 0.2)}, "one --control-start for each --control, one for all, or none"),
        ({"clip_skip": 0}, "--clip-skip 0 is out of range"),
        ({"prompt": "a (cat"}, "has a \\( that is not closed"),
        ({"negative": "<lora:a:1>"}, "give LoRAs with --lora"),
        ({"textual_inversion": ("missing.safetensors:word",)}, "--textual-inversion missing.safetensors is missing"),
        ({"textual_inversion": (__file__,)}, "test_weights.py is no .safetensors file"),
    ],
)
def test_what_is_wrong_whatever_the_weights(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        DiffusionOptions(**({"prompt": "a cat"} | changes)).check()


def test_a_cached_model_whose_description_is_cut_short_is_not_whole(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / ("0" * 40)
    shutil.copytree(models / "sd", folder)
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("0" * 40)
    assert located("a/b", "model", offline=True) == folder
    for text in ('{"_class_name": "StableDiff', "3"):
        (folder / "model_index.json").write_text(text)
        with pytest.raises(UserError, match="the model a/b is not in the cache"):
            located("a/b", "model", offline=True)


def test_the_hash_follows_the_weights(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "sd", tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(models / "sd")
    tiny.save_pipeline(tmp_path / "other", seed=9)
    assert fingerprint(tmp_path / "other") != fingerprint(models / "sd")


def test_the_command_that_fetches() -> None:
    command = fetch_command("a/b", ["model_index.json", "*/*.json"])
    assert command.startswith('hf download a/b --include "model_index.json" --include "*/*.json"')


@pytest.mark.parametrize("half", ["", ".fp16"])
@pytest.mark.parametrize(
    ("patterns", "files"),
    [
        (["model_index.json", "*/*.json", "*/*.safetensors"], ["model_index.json", "unet/a{half}.safetensors"]),
        (["config.json", "model.safetensors"], ["config.json", "model{half}.safetensors"]),
    ],
)
def test_the_command_fetches_either_precision(half: str, patterns: list[str], files: list[str]) -> None:
    there = [file.format(half=half) for file in files]
    words = shlex.split(fetch_command("a/b", patterns))[3:]
    options = {word: words[number + 1] for number, word in enumerate(words) if word.startswith("--")}
    skipped = [words[number + 1] for number, word in enumerate(words) if word == "--exclude"]
    wanted = [word for word in words if word not in options and word not in skipped]
    more = ["x.bin", "unet/a.non_ema.safetensors"]
    assert list(filter_repo_objects(there + more, allow_patterns=wanted, ignore_patterns=skipped)) == there
