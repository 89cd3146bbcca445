"""Tiny randomly initialised CLIP and DINOv2 models, and LPIPS weights, saved as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from atlas.metrics.lpips import shapes

# Pictures are cut to a square at these sizes.
_PREPARED: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def save_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP that reads letters and sees 32x32 pixels."""
    from transformers import CLIPConfig, CLIPModel

    from scripts.benchmarks.damage.models import tokenizer

    torch.manual_seed(seed)
    shared = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    words = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513, "max_position_embeddings": 77}
    config = CLIPConfig(
        text_config=shared | words, vision_config=shared | {"image_size": 32, "patch_size": 8}, projection_dim=12
    )
    model = CLIPModel(config)
    with torch.no_grad():  # a fresh one's embeddings of any two pictures are nearly the same
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.normal_(std=0.3 if "projection" in name else 0.2)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer().save_pretrained(folder)
    _image_processor("CLIPImageProcessor").save_pretrained(folder)
    return folder


def save_dino(folder: Path, seed: int = 1) -> Path:
    """A DINOv2 that sees 32x32 pixels."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
    model = Dinov2Model(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.normal_(std=0.2)
    model.save_pretrained(folder, safe_serialization=True)
    _image_processor("BitImageProcessor").save_pretrained(folder)
    return folder


def _image_processor(name: str) -> Any:
    """The one that works without torchvision: in newer versions it has a name of its own."""
    import transformers

    return (getattr(transformers, f"{name}Pil", None) or getattr(transformers, name))(**_PREPARED)


def save_lpips(file: Path, seed: int = 2) -> Path:
    """Weights of LPIPS as its package names them, drawn at random; those of its last layers are positive, as trained ones."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    weights = {name: torch.randn(shape) / max(1, sum(shape[1:])) ** 0.5 for name, shape in shapes().items()}
    save_file({name: value.abs() if name.startswith("lin") else value for name, value in weights.items()}, file)
    return file
