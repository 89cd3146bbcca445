"""Tiny randomly initialised pipelines, like Stable Diffusion 1.5 and XL in all but size: built and saved in a moment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

SIZE = 64  # pixels that they are made for


def models_run() -> bool:
    """Whether what makes and runs models is installed."""
    return all(importlib.util.find_spec(name) for name in ("diffusers", "transformers", "accelerate", "peft"))


def save_models(folder: Path) -> None:
    """Save a model and what is put on top of it: model/, controlnet/, depth/, lora.safetensors and word.safetensors."""
    from safetensors.torch import save_file

    save_pipeline(folder / "model")
    save_controlnet(folder / "controlnet")
    save_depth(folder / "depth")
    save_lora(folder / "lora.safetensors")
    save_file({"emb_params": torch.ones(1, 8)}, folder / "word.safetensors", {"format": "pt"})


def save_pipeline(folder: Path, kind: str = "sd", seed: int = 0) -> Path:
    """Build a base model ("sd" or "xl") and save it into `folder` in the layout of diffusers."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    parts = components(kind, seed)
    if kind == "sd":
        more: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        StableDiffusionPipeline(**parts, **more).save_pretrained(folder, safe_serialization=True)
    else:
        StableDiffusionXLPipeline(**parts).save_pretrained(folder, safe_serialization=True)
    return folder


def save_controlnet(folder: Path, kind: str = "sd", seed: int = 1) -> Path:
    """Build a ControlNet whose outputs are not all 0, as a fresh one's are, and save it."""
    from diffusers import ControlNetModel

    torch.manual_seed(seed)
    net = ControlNetModel(**_shared(kind), conditioning_embedding_out_channels=(4, 4, 4, 4))
    with torch.no_grad():
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            block.weight.normal_(std=0.1)
        for block in net.controlnet_cond_embedding.blocks:
            block.weight.mul_(4)  # as they are made, so few channels let next to nothing through
    net.save_pretrained(folder, safe_serialization=True)
    return folder


def components(kind: str, seed: int = 0) -> dict[str, Any]:
    """The parts of a pipeline; `seed` decides their weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    ups = ["CrossAttnUpBlock2D", "UpBlock2D"] if kind == "xl" else ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    unet = UNet2DConditionModel(**_shared(kind), sample_size=SIZE // 8, out_channels=4, up_block_types=ups)
    vae = AutoencoderKL(
        block_out_channels=[8, 8, 8, 8],
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    texts = {"text_encoder": _text_encoder(8 if kind == "sd" else 16, False), "tokenizer": tokenizer()}
    if kind == "xl":
        texts = {"text_encoder": _text_encoder(16, False), "tokenizer": tokenizer()}
        texts |= {"text_encoder_2": _text_encoder(16, True), "tokenizer_2": tokenizer()}
    return {"unet": unet, "vae": vae, "scheduler": scheduler, **texts}


def _shared(kind: str) -> dict[str, Any]:
    """What a UNet and its ControlNet have in common."""
    shared: dict[str, Any] = {"block_out_channels": [8, 16], "layers_per_block": 1, "in_channels": 4, "norm_num_groups": 4}
    if kind == "sd":
        downs = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
        return shared | {"cross_attention_dim": 8, "attention_head_dim": 4, "down_block_types": downs}
    return shared | {
        "cross_attention_dim": 32,
        "attention_head_dim": [2, 4],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "use_linear_projection": True,
        "transformer_layers_per_block": [1, 2],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16,
    }


def _text_encoder(width: int, with_projection: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        projection_dim=width,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=514,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return (CLIPTextModelWithProjection if with_projection else CLIPTextModel)(config).eval()


def tokenizer() -> Any:
    """Letters alone: every letter is a token."""
    from transformers import CLIPTokenizer

    letters = _byte_letters()
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({name: number for number, name in enumerate(names)}, [], model_max_length=77)


def _byte_letters() -> list[str]:
    """The printable letter that byte-level tokenizers write for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def save_lora(file: Path, kind: str = "sd", rank: int = 2, width: int | None = None) -> Path:
    """A LoRA of one attention layer of the UNet; another `width` than the model's does not fit it."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    width = width or 16
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.randn(rank, width), f"{layer}.lora_B.weight": torch.randn(width, rank)}
    save_file(tensors, file)
    return file


def save_depth(folder: Path) -> None:
    """A depth estimator whose depth differs from place to place."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=8,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=32,
        patch_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        backbone_out_indices=[0, 1, 2, 3],
    )
    torch.manual_seed(0)
    network = DPTForDepthEstimation(config)
    with torch.no_grad():
        for values in network.parameters():  # a fresh network's depth is the same everywhere, and cut off at 0
            values.normal_(std=0.4)
        network.head.head[-2].weight.abs_()
    network.save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
