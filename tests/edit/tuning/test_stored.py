"""What tuning leaves: read by `--lora`, by diffusers, and put into a model for a while without a trace afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.errors import UserError
from atlas.storage.stamps import digest, read_json
from edit.diffusion.denoise import Start, denoise, draw
from edit.diffusion.model import StableDiffusion
from edit.tuning.lora import new_lora
from edit.tuning.stored import save_lora, save_unet, tuned
from edit.tuning.whole import learned_weights, own_weights
from tests.edit import tiny
from tests.edit.tuning.conftest import CONTROL

Loads = Callable[..., StableDiffusion]


def picture(model: StableDiffusion, prompt_image: np.ndarray | None = None) -> np.ndarray:
    model.condition("a cat", "", [CONTROL], [1.0], 5.0, prompt_image)
    generator = torch.Generator().manual_seed(1)
    made = model.decode(denoise(model, Start(draw(model.latent_shape(64, 64), generator), generator), steps=2))
    assert made is not None
    return made


def lora_file(model: StableDiffusion, path: Path) -> Path:
    """A LoRA that has learned something."""
    with new_lora(model.pipeline.unet, 4, 0) as weights:
        generator = torch.Generator().manual_seed(2)
        save_lora({name: torch.randn(weight.shape, generator=generator) for name, weight in weights.items()}, path)
    return path


def unet_folder(model: StableDiffusion, path: Path) -> Path:
    """A UNet that has learned something."""
    with learned_weights(model.pipeline.unet) as weights:
        for weight in weights.values():
            weight.data *= 1.25
        save_unet(model.pipeline.unet, weights, path)
    return path


MADE = {"lora": lora_file, "full": unet_folder}
NAMES = {"lora": "tuned.safetensors", "full": "tuned"}


def state(model: StableDiffusion) -> tuple[Any, ...]:
    """All of a UNet that could be left changed."""
    unet = model.pipeline.unet
    learns = {name: (weight.requires_grad, weight.grad is None, weight.dtype) for name, weight in unet.named_parameters()}
    active = {name: list(module.active_adapters) for name, module in unet.named_modules() if hasattr(module, "lora_A")}
    modules = {name: type(module) for name, module in unet.named_modules()}
    tables = {name: dict(value) for name, value in vars(unet).items() if name == "peft_config"}
    return learns, active, modules, tables, set(vars(unet)), unet.is_gradient_checkpointing


def weights_of(model: StableDiffusion) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.pipeline.unet.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kind", ["sd", "xl"])
def test_the_lora_is_one_for_lora_and_for_diffusers(tiny_model: Loads, models: Path, tmp_path: Path, kind: str) -> None:
    from diffusers import DiffusionPipeline, UNet2DConditionModel

    model = tiny_model(kind)
    base, path = picture(model), lora_file(model, tmp_path / "tuned.safetensors")
    with tuned(model, path):
        shown = picture(model)
    assert np.abs(shown - base).max() > 0.01
    assert np.abs(picture(tiny_model(kind, lora=(str(path),))) - shown).max() < 1e-5
    own = DiffusionPipeline.from_pretrained(models / kind, safety_checker=None)
    own.load_lora_weights(str(tmp_path), weight_name=path.name)
    assert isinstance(own.unet, UNet2DConditionModel) and path.stat().st_mode & 0o777 == 0o644
    latents, more = torch.randn(1, 4, 8, 8), {"text_embeds": torch.randn(1, 16), "time_ids": torch.ones(1, 6)}
    text = torch.randn(1, 77, own.unet.config.cross_attention_dim)
    with torch.no_grad(), tuned(model, path):
        both = [unet(latents, 5, text, added_cond_kwargs=more)[0] for unet in (own.unet, model.pipeline.unet)]
    assert torch.allclose(*both, atol=1e-6)


@pytest.mark.parametrize("kind", ["sd", "xl"])
def test_all_weights_are_a_folder_of_diffusers(tiny_model: Loads, models: Path, tmp_path: Path, kind: str) -> None:
    from diffusers import UNet2DConditionModel

    model = tiny_model(kind)
    folder = unet_folder(model, tmp_path / "tuned")
    theirs = UNet2DConditionModel.from_pretrained(folder).state_dict()
    before = weights_of(model)
    with tuned(model, folder):
        inside = weights_of(model)
    assert list(theirs) == list(before) and same(inside, {name: theirs[name].float() for name in inside})
    assert all(torch.equal(inside[name], (1.25 * value).half().float()) for name, value in before.items())
    assert str(models) not in (folder / "config.json").read_text()  # where the base model lay on this machine
    assert read_json(folder / "config.json")["cross_attention_dim"] == model.pipeline.unet.config.cross_attention_dim


@pytest.mark.parametrize("how", MADE)
@pytest.mark.parametrize("loras", [(), ("0.5", "2")])
def test_afterwards_the_model_is_as_before(tiny_model: Loads, tmp_path: Path, how: str, loras: tuple[str, ...]) -> None:
    mine = tiny.save_lora(tmp_path / "mine.safetensors")
    model = tiny_model(lora=tuple(f"{mine}:{scale}" for scale in loras))
    path = MADE[how](model, tmp_path / NAMES[how])
    base, before, known = picture(model), weights_of(model), state(model)
    assert set(own_weights(model.pipeline.unet)) == set(weights_of(tiny_model()))
    with tuned(model, path):
        inside = picture(model)
    assert not np.array_equal(inside, base)
    assert same(weights_of(model), before) and state(model) == known and np.array_equal(picture(model), base)
    with pytest.raises(ZeroDivisionError), tuned(model, path):
        _ = 1 / 0
    assert same(weights_of(model), before) and state(model) == known and np.array_equal(picture(model), base)
    with tuned(model, path):
        assert np.array_equal(picture(model), inside)


def test_loras_that_are_on_stay_on(tiny_model: Loads, tmp_path: Path) -> None:
    mine, ours = tiny.save_lora(tmp_path / "mine.safetensors"), lora_file(tiny_model(), tmp_path / "tuned.safetensors")
    model = tiny_model(lora=(f"{mine}:0.5",))
    with tuned(model, ours):
        beside = picture(model)
    with tuned(tiny_model(), ours):
        alone = picture(tiny_model())
    assert np.abs(beside - alone).max() > 1e-4
    assert np.abs(picture(tiny_model(lora=(f"{mine}:0.5", str(ours)))) - beside).max() < 1e-5


def test_an_image_prompt_is_no_part_of_the_unet(tiny_model: Loads, models: Path, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    adapter = tiny.save_ip_adapter(tmp_path / "adapter", models / "sd")
    (tmp_path / "look.png").write_bytes(b"")
    model = tiny_model(image_prompt=tmp_path / "look.png", ip_adapter=str(adapter))
    look = np.full((40, 50, 3), 120, np.uint8)
    base, folder = picture(model, look), unet_folder(model, tmp_path / "tuned")
    plain = UNet2DConditionModel.from_pretrained(models / "sd", subfolder="unet")
    read = UNet2DConditionModel.from_pretrained(folder)
    assert list(read.state_dict()) == list(plain.state_dict()) and read.config.encoder_hid_dim_type is None
    with tuned(model, folder):
        assert not np.array_equal(picture(model, look), base)
    assert np.array_equal(picture(model, look), base)


@pytest.mark.parametrize("how", MADE)
def test_the_same_weights_give_the_same_bytes(tiny_model: Loads, tmp_path: Path, how: str) -> None:
    first, second = (MADE[how](tiny_model(), tmp_path / number / NAMES[how]) for number in ("1", "2"))
    assert digest(first) == digest(second)


@pytest.mark.parametrize("how", MADE)
def test_what_was_tuned_from_another_model_is_refused(tiny_model: Loads, tmp_path: Path, how: str) -> None:
    path = MADE[how](tiny_model("xl"), tmp_path / NAMES[how])
    model = tiny_model()
    before, known = weights_of(model), state(model)
    with pytest.raises(UserError, match="does not fit the model|was tuned from another model") as problem, tuned(model, path):
        pass
    assert "\n" not in str(problem.value) and str(path) in str(problem.value)
    assert same(weights_of(model), before) and state(model) == known


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("how", MADE)
def test_half_precision_comes_back_to_the_bit(tiny_model: Loads, tmp_path: Path, how: str, dtype: str) -> None:
    model = tiny_model(dtype=dtype)
    before, known = weights_of(model), state(model)
    path = MADE[how](model, tmp_path / NAMES[how])  # learned in float32
    assert same(weights_of(model), before) and state(model) == known
    with tuned(model, path):
        assert model.dtype == getattr(torch, dtype)
        assert not same(weights_of(model), before)
    assert same(weights_of(model), before) and state(model) == known
