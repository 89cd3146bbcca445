"""LoRAs, IP-Adapters and words on top of a model: all of their weights count, or nothing is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import UserError
from edit.models.on_top.ip_adapters import add_image_prompt
from edit.models.on_top.loras import load_lora
from edit.models.on_top.words import add_words
from edit.prompts.encoding import encoded
from tests.edit import tiny

KINDS = {"sd": "StableDiffusionPipeline", "xl": "StableDiffusionXLPipeline"}


def pipeline(models: Path, kind: str = "sd") -> Any:
    import diffusers

    return getattr(diffusers, KINDS[kind]).from_pretrained(models / kind, local_files_only=True)


def test_a_lora_with_layers_of_another_model(models: Path, tmp_path: Path) -> None:
    file = tiny.save_lora(tmp_path / "style.safetensors")
    load_lora(pipeline(models), file, "whole")
    layer = "unet.down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q"
    more = {f"{layer}.lora_A.weight": torch.zeros(2, 16), f"{layer}.lora_B.weight": torch.zeros(16, 2)}
    save_file(load_file(file) | more, file)
    with pytest.raises(UserError, match="style.safetensors does not fit the model: 1 of its 2 layers belong to another"):
        load_lora(pipeline(models), file, "part")
    save_file(load_file(file) | {"lora_unet_a.hada_w1_a": torch.zeros(2, 2)}, file)
    with pytest.raises(UserError, match="hada_w1_a, which is no LoRA's weight"):
        load_lora(pipeline(models), file, "other")


def test_an_ip_adapter_beside_another_image_encoder(models: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    file = tiny.save_ip_adapter(tmp_path, models / "sd")
    config = json.loads((tmp_path / "image_encoder" / "config.json").read_text())
    wider = CLIPVisionConfig(**(config | {"projection_dim": 12}))
    CLIPVisionModelWithProjection(wider).save_pretrained(tmp_path / "image_encoder", safe_serialization=True)
    with pytest.raises(UserError, match="reads 8 numbers of a picture, and the image encoder beside it gives 12"):
        add_image_prompt(pipeline(models), str(file), 0.6, is_xl=False, offline=True)
    save_file(load_file(file) | {"ip_adapter.1.to_k_lora.down.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(UserError, match="is an IP-Adapter for faces"):
        add_image_prompt(pipeline(models), str(file), 0.6, is_xl=False, offline=True)


def test_words_of_textual_inversion(models: Path, tmp_path: Path) -> None:
    taught, file = pipeline(models), tmp_path / "cattoy.safetensors"
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": vectors}, file)
    add_words(taught, [(file, "cattoy")])
    assert len(taught.tokenizer("a cattoy").input_ids) == 4  # the letter, the word, and where the text begins and ends
    known = taught.text_encoder.get_input_embeddings().weight[-2:]
    assert torch.equal(known, vectors)

    def text(prompt: str) -> torch.Tensor:
        return encoded(taught, prompt, "", guided=False, device=torch.device("cpu")).text

    with torch.no_grad():
        assert torch.equal(text("a cattoy"), taught.encode_prompt("a cattoy", "cpu", 1, False)[0])
    assert torch.equal(text("a (cattoy:1.0)"), text("a cattoy")) and not torch.equal(text("a (cattoy:1.3)"), text("a cattoy"))
    with pytest.raises(UserError, match="the model knows the word 'cattoy' already"):
        add_words(taught, [(file, "cattoy")])
    for kind, tensors in (("sd", {"emb_params": torch.zeros(2, 12)}), ("xl", {"emb_params": vectors})):
        save_file(tensors, file)
        with pytest.raises(UserError, match="it is of another family"):
            add_words(pipeline(models, kind), [(file, "cattoy")])


def test_words_of_both_encoders(models: Path, tmp_path: Path) -> None:
    taught = pipeline(models, "xl")
    save_file({"clip_l": torch.ones(1, 16), "clip_g": torch.full((1, 16), 2.0)}, tmp_path / "w.safetensors")
    add_words(taught, [(tmp_path / "w.safetensors", "wcat")])
    for encoder, value in ((taught.text_encoder, 1), (taught.text_encoder_2, 2)):
        assert encoder.get_input_embeddings().weight[-1].tolist() == [value] * 16
