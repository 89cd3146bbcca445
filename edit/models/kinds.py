"""What a single .safetensors file of weights is, from the names and shapes of its tensors: a base model, or something else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from atlas.errors import UserError
from atlas.weights.folder import weights_header

Base = Literal["v1", "v2", "xl_base"]
"""The base models that are run here, by diffusers' names."""
_UNET, _VAE, _TEXTS = "model.diffusion_model.", "first_stage_model.", ("cond_stage_model.", "conditioner.embedders.")
_CONTROL = "control_model."
_LATENT = 4  # channels
_FIRST = f"{_UNET}input_blocks.0.0.weight"
# In words what diffusers' names do not say to everyone; the rest are names of models.
_SAID = {
    "xl_refiner": "the refiner of Stable Diffusion XL",
    "xl_inpaint": "an inpainting model",
    "inpainting": "an inpainting model",
    "inpainting_v2": "an inpainting model",
    "instruct-pix2pix": "InstructPix2Pix",
    "upscale": "an upscaler",
    "playground-v2-5": "Playground 2.5, which is trained with another kind of noise (EDM)",
}
# Of what is no base model: a part of a tensor's name, and what it is. The first that is found counts.
_OTHERS = (
    ("lllite_", "a ControlNet-LLLite, which no option takes"),
    ("lora_controlnet", "a Control-LoRA, which no option takes"),
    ("task_embedding", "a ControlNet for several controls (union), which no option takes"),
    ("control_add_embedding.", "a ControlNet for several controls (union), which no option takes"),
    ("controlnet_cond_embedding.", "a ControlNet (--controlnet)"),
    ("input_hint_block.", "a ControlNet (--controlnet)"),
    ("adapter.body.", "a T2I-Adapter, which no option takes"),
    ("body.0.resnets.", "a T2I-Adapter, which no option takes"),
    ("body.0.block1.", "a T2I-Adapter, which no option takes"),
    ("to_k_ip.", "an IP-Adapter (--ip-adapter)"),
    ("motion_modules.", "a motion module, which no option takes"),
    ("lora_", "a LoRA (--lora)"),
    (".lora.", "a LoRA (--lora)"),
    ("hada_w1", "a LoRA of another kind (LoHa)"),
    ("lokr_w1", "a LoRA of another kind (LoKr)"),
    ("emb_params", "a textual inversion (--textual-inversion)"),
    ("clip_g", "a textual inversion (--textual-inversion)"),
    ("double_blocks.", "Flux or a model like it"),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("down_blocks.0.resnets.0.time_emb_proj.", "a UNet alone: name the folder of the whole model"),
    ("decoder.up", "an autoencoder (--vae)"),
)
_NOISE = ("edm_vpred.sigma_max", "edm_mean")  # tensors of models that are trained with EDM's noise


def check_base(file: Path) -> None:
    """UserError where a file is plainly no base model that is run here; diffusers is imported to say what it is."""
    tensors = weights_header(file)[0]
    channels = tensors.get(_FIRST, ("", ()))[1][1:2]
    refines = any(name.startswith("conditioner.") for name in tensors) and not any(
        name.startswith("conditioner.embedders.1.") for name in tensors
    )
    if channels != (_LATENT,) or refines:
        base_kind(file, has_vae=True)


def base_kind(file: Path, has_vae: bool) -> Base:
    """Which base model a file holds; UserError where it is none that is run here, or is not whole.

    has_vae: whether another autoencoder is used than the file's.
    """
    tensors = weights_header(file)[0]
    kind = inferred(file)
    if kind not in ("v1", "v2", "xl_base") or (kind == "v1" and _FIRST not in tensors):
        said = kind if kind != "v1" and not kind.startswith("controlnet") else None
        raise UserError(
            f"{file} is {_SAID.get(said, f'a model of the kind {said}') if said else other_kind(file)}: "
            "--model takes Stable Diffusion 1.x, 2.x and XL"
        )
    for name in _NOISE:
        if name in tensors:
            raise UserError(
                f"{file} is trained with another kind of noise (EDM): --model takes Stable Diffusion 1.x, 2.x and XL"
            )
    if not any(name.startswith(_TEXTS) for name in tensors):
        raise UserError(f"{file} holds a UNet without its text encoder: name a file or folder of the whole model")
    if not has_vae and not any(name.startswith(_VAE) for name in tensors):
        raise UserError(f"{file} holds no autoencoder: name one with --vae, such as {usual_vae(kind)}")
    return kind  # type: ignore[return-value]


def usual_vae(kind: str) -> str:
    """The hub id of an autoencoder for a kind of base model."""
    return "madebyollin/sdxl-vae-fp16-fix" if kind == "xl_base" else "stabilityai/sd-vae-ft-mse"


def inferred(file: Path) -> str:
    """What diffusers takes a file for, by names and shapes of its tensors alone; "v1" for whatever it does not know."""
    import torch
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type

    tensors = weights_header(file)[0]
    try:
        kind: Any = infer_diffusers_model_type(
            {name: torch.empty(shape, device="meta") for name, (_, shape) in tensors.items()}
        )
    except (KeyError, IndexError, UnboundLocalError, RuntimeError):  # names of a kind without its shapes
        return "unknown"
    return str(kind)


def other_kind(file: Path) -> str:
    """What a file is that is no base model, in words."""
    names = " ".join(weights_header(file)[0])
    return next((said for part, said in _OTHERS if part in names), "no model of a kind that is known here")


def check_all_used(file: Path, unet: Any, vae: Any | None) -> None:
    """UserError where a base model's file holds more of the UNet, or of the autoencoder, than went into the networks.

    diffusers renames weights and leaves out those that have no new name; the count of their numbers stays. vae: None where
    the file's own is not used.
    """
    for prefix, what, network in ((_UNET, "UNet", unet), (_VAE, "autoencoder", vae)):
        if network is not None:
            _check_count(file, prefix, what, network)


def check_controlnet_used(file: Path, controlnet: Any) -> None:
    """UserError where a ControlNet's file holds more, or less, than went into the network; whole models may lie beside it."""
    beside = any(name.startswith(_CONTROL) for name in weights_header(file)[0])
    _check_count(file, _CONTROL if beside else "", "ControlNet", controlnet)


def _check_count(file: Path, prefix: str, what: str, network: Any) -> None:
    tensors = weights_header(file)[0]
    own = {name.removeprefix(prefix): shape for name, (_, shape) in tensors.items() if name.startswith(prefix)}
    there = sum(math.prod(shape) for name, shape in own.items() if not name.startswith("loss."))  # of its training
    used = sum(weight.numel() for weight in network.parameters())
    if there != used:
        raise UserError(
            f"the {what} in {file} has {there} numbers, and its description {used}: it is of another kind than "
            "that describes, or holds weights that would not be used"
        )
