"""Base models: every precision and layout that lies about, autoencoders beside them, and what does not fit together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import UserError
from atlas.weights.hub import chosen_files
from edit.models.loading import load_pipeline
from edit.models.weights import Weights
from edit.request.prompting import DiffusionOptions
from tests.edit import tiny

Change = Callable[[dict[str, torch.Tensor]], object]


def loaded(models: Path, model: Path, kind: str = "sd", **changes: Any) -> Any:
    given: dict[str, Any] = {"model": str(model), "controlnet": (str(models / f"controlnet-{kind}"),), "offline": True}
    options = DiffusionOptions(prompt="a cat", **(given | changes))
    return load_pipeline(Weights.of(options, torch.device("cpu"), kind == "xl"))


def same(one: Any, other: Any) -> bool:
    both = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == key and torch.equal(a, b) for (name, a), (key, b) in both)


def rewrite(file: Path, change: Change) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.fixture
def sd(models: Path, tmp_path: Path) -> Path:
    """A base model that a test may change."""
    return Path(shutil.copytree(models / "sd", tmp_path / "sd"))


@pytest.fixture
def single(models: Path, tmp_path: Path) -> Path:
    """The same in one file."""
    return tiny.save_single_file(models / "sd", tmp_path / "one.safetensors")


def test_folders_of_half_precision_alone(models: Path, sd: Path, tmp_path: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (sd / part).glob("*.safetensors")
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    net = Path(shutil.copytree(models / "controlnet-sd", tmp_path / "net"))
    (net / "diffusion_pytorch_model.safetensors").rename(net / "diffusion_pytorch_model.fp16.safetensors")
    whole, halves = loaded(models, models / "sd"), loaded(models, sd, controlnet=(str(net),))
    assert all(same(getattr(whole, part), getattr(halves, part)) for part in ("unet", "vae", "text_encoder", "controlnet"))


def test_what_of_a_repository_is_fetched() -> None:
    both = ["unet/a.safetensors", "unet/a.fp16.safetensors", "vae/a.fp16.safetensors"]
    wanted, skipped = chosen_files(both, ["*/*.safetensors"])
    assert wanted == ["*/*.safetensors"] and "unet/a.fp16.safetensors" in skipped and "vae/a.fp16.safetensors" not in skipped
    alone = ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
    assert alone[1] in chosen_files(alone, ["config.json", "diffusion_pytorch_model.safetensors"])[0]


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_no_weight_is_left_out_or_made_up(models: Path, sd: Path, part: str) -> None:
    (file,) = (sd / part).glob("*.safetensors")
    kept = file.read_bytes()
    rewrite(file, lambda tensors: tensors.update({"more.weight": torch.zeros(3)}))
    with pytest.raises(UserError, match=f"{part} holds weights that the {part} of its description does not have .more.weight"):
        loaded(models, sd)
    file.write_bytes(kept)
    rewrite(file, lambda tensors: tensors.pop(sorted(tensors)[0]))
    with pytest.raises(UserError, match=f"{part} lacks {part} weights"):
        loaded(models, sd)


def test_old_names_and_tables(models: Path, sd: Path) -> None:
    """As Stable Diffusion 1.5 is published: names from before, and a table that is no weight."""
    table = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    rewrite(sd / "text_encoder" / "model.safetensors", lambda tensors: tensors.update(table))
    file, old = sd / "vae" / "diffusion_pytorch_model.safetensors", {"to_q": "query", "to_k": "key", "to_v": "value"}
    tensors = load_file(file)
    for name, before in (old | {"to_out.0": "proj_attn"}).items():
        tensors = {key.replace(f"attentions.0.{name}.", f"attentions.0.{before}."): value for key, value in tensors.items()}
    assert any("proj_attn" in key for key in tensors)
    save_file(tensors, file)
    ours, theirs = loaded(models, sd), loaded(models, models / "sd")
    assert same(ours.text_encoder, theirs.text_encoder) and same(ours.vae, theirs.vae)


def test_a_pruned_file_takes_another_autoencoder(models: Path, single: Path, tmp_path: Path) -> None:
    tensors = load_file(single)
    vae = {name.removeprefix("first_stage_model."): value for name, value in tensors.items() if name.startswith("first_")}
    save_file(vae, tmp_path / "vae.safetensors")
    rewrite(single, lambda tensors: [tensors.pop(f"first_stage_model.{name}") for name in vae])
    given = {"model_config": str(models / "sd")}
    with pytest.raises(UserError, match=r"one.safetensors holds no autoencoder: name one with --vae"):
        loaded(models, single, **given)
    whole = loaded(models, models / "sd")
    for place in (models / "sd" / "vae", tmp_path / "vae.safetensors"):
        pruned = loaded(models, single, vae=str(place), **given)
        assert same(pruned.vae, whole.vae) and same(pruned.unet, whole.unet)
    with pytest.raises(UserError, match="--vae takes one of AutoencoderKL"):
        loaded(models, models / "sd", vae=str(models / "sd" / "unet"))


def test_a_single_file_of_which_something_would_be_left_out(models: Path, single: Path) -> None:
    rewrite(single, lambda tensors: tensors.update({"model.diffusion_model.more.weight": torch.zeros(3)}))
    with pytest.raises(UserError, match="the UNet in .*one.safetensors has .* numbers, and its description"):
        loaded(models, single, model_config=str(models / "sd"))
    net = Path(shutil.copytree(models / "controlnet-sd", single.parent / "net"))
    file = (net / "diffusion_pytorch_model.safetensors").rename(net / "canny.safetensors")
    rewrite(file, lambda tensors: tensors.update({"more.weight": torch.zeros(3)}))
    with pytest.raises(UserError, match="the ControlNet in .*canny.safetensors has .* numbers, and its description"):
        loaded(models, models / "sd", controlnet=(str(file),))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter.body.0.resnets.0.block1.weight", "is a T2I-Adapter, which no option takes: name a ControlNet"),
        ("lora_controlnet", "is a Control-LoRA"),
        ("task_embedding", "is a ControlNet for several controls"),
        ("lllite_unet_a.weight", "is a ControlNet-LLLite"),
        ("unknown.weight", "no model of a kind that is known here: name a ControlNet"),
    ],
)
def test_files_that_are_no_controlnet(models: Path, tmp_path: Path, name: str, said: str) -> None:
    save_file({name: torch.zeros(2)}, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match=said):
        loaded(models, models / "sd", controlnet=(str(tmp_path / "net.safetensors"),))


def test_an_autoencoder_from_a_stranger(models: Path, tmp_path: Path) -> None:
    vae = Path(shutil.copytree(models / "sd" / "vae", tmp_path / "vae"))
    (vae / "config.json").write_text(json.dumps(json.loads((vae / "config.json").read_text()) | {"auto_map": {"a": "evil.A"}}))
    with pytest.raises(UserError, match="auto_map"):
        loaded(models, models / "sd", vae=str(vae))
    shutil.copy(models / "sd" / "vae" / "config.json", vae / "config.json")
    (file,) = vae.glob("*.safetensors")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(UserError, match="holds no .safetensors file of its autoencoder"):
        loaded(models, models / "sd", vae=str(vae))


def test_a_single_file_tells_what_it_predicts(models: Path, single: Path) -> None:
    rewrite(single, lambda tensors: tensors.update({"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}))
    config = loaded(models, single, model_config=str(models / "sd")).scheduler.config
    assert config.prediction_type == "v_prediction" and config.rescale_betas_zero_snr
    assert config.timestep_spacing == "trailing"
    plain = loaded(models, models / "sd", prediction_type="v_prediction", scheduler="dpm++")
    assert plain.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("kind", "part", "entries", "said"),
    [
        ("sd", "unet/config.json", {"in_channels": 9}, "takes 9 channels, not 4, as for inpainting"),
        ("sd", "unet/config.json", {"num_class_embeds": 1000}, "asks for noise levels"),
        ("sd", "unet/config.json", {"time_cond_proj_dim": 256}, "asks for the guidance itself"),
        ("sd", "unet/config.json", {"cross_attention_dim": 16}, "reads 16 numbers a token, and its text encoders give 8"),
        ("sd", "vae/config.json", {"latent_channels": 16}, "has 16 latent channels, not 4"),
        ("sd", "model_index.json", {"unet": [None, None]}, "has no unet and is no model of its own"),
        ("sd", "model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "is a StableDiffusion3Pipeline: this editor"),
        ("sd", "vae/config.json", {"block_out_channels": [8, 8, 8]}, "pictures 4 times as large as their latents, not 8"),
        ("sd", "unet/config.json", {"sample_size": None}, "does not say for which size it is made"),
        ("sd", "tokenizer/tokenizer_config.json", {"model_max_length": 512}, "gives 512 tokens of 514 kinds, and .* reads 77"),
        ("sd", "scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "another kind of noise"),
        ("xl", "model_index.json", {"text_encoder": [None, None], "tokenizer": [None, None]}, "as XL's refiner has"),
        ("xl", "unet/config.json", {"addition_embed_type": "image"}, "further input of the kind image"),
    ],
)
def test_models_that_are_not_run_here(
    models: Path, tmp_path: Path, kind: str, part: str, entries: dict[str, Any], said: str
) -> None:
    model = Path(shutil.copytree(models / kind, tmp_path / kind))
    (model / part).write_text(json.dumps(json.loads((model / part).read_text()) | entries))
    with pytest.raises(UserError, match=said) as problem:
        loaded(models, model, kind)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"_class_name": "ControlNetUnionModel"}, "of the kind ControlNetUnionModel, no ControlNet"),
        ({"_class_name": "T2IAdapter"}, "of the kind T2IAdapter"),
        ({"conditioning_channels": 1}, "takes control images of 1 channels"),
        ({"_class_name": "SD3ControlNetModel"}, "of the kind SD3ControlNetModel"),
        ({"conditioning_embedding_out_channels": [4, 4, 4]}, "shrinks control images otherwise than 8 times"),
        ({"global_pool_conditions": True}, "use --image-prompt"),
        ({"layers_per_block": 2}, "cannot be loaded as a ControlNet: .*expected shape"),
    ],
)
def test_controlnets_that_are_none(models: Path, tmp_path: Path, entries: dict[str, Any], said: str) -> None:
    net = Path(shutil.copytree(models / "controlnet-sd", tmp_path / "net"))
    (net / "config.json").write_text(json.dumps(json.loads((net / "config.json").read_text()) | entries))
    with pytest.raises(UserError, match=said):
        loaded(models, models / "sd", controlnet=(str(net),))
