"""What a single file is, told from names and shapes alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atlas.errors import UserError
from edit.models.base import is_xl_model
from edit.models.kinds import base_kind

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
_UNET = "model.diffusion_model."
FIRST = f"{_UNET}input_blocks.0.0.weight"
TEXT = {"cond_stage_model.transformer.text_model.a": (2,)}
VAE = {"first_stage_model.decoder.up.0.a": (2,)}
XL = {
    "conditioner.embedders.0.transformer.a": (2,),
    "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": (2,),
}
V2 = f"{_UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"


def file_of(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, folder / "file.safetensors")
    return folder / "file.safetensors"


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({FIRST: (8, 4, 3, 3)} | TEXT | VAE, "v1"),
        ({FIRST: (8, 4, 3, 3), V2: (2, 1024)} | TEXT | VAE, "v2"),
        ({FIRST: (8, 4, 3, 3)} | XL | VAE, "xl_base"),
    ],
)
def test_base_models(tmp_path: Path, shapes: dict[str, tuple[int, ...]], kind: str) -> None:
    assert base_kind(file_of(tmp_path, shapes), has_vae=False) == kind


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({FIRST: (8, 9, 3, 3)} | TEXT | VAE, "is an inpainting model"),
        ({FIRST: (8, 8, 3, 3)} | TEXT | VAE, "is InstructPix2Pix"),
        (
            {FIRST: (8, 4, 3, 3), "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": (2,)} | VAE,
            "is the refiner of Stable Diffusion XL",
        ),
        ({FIRST: (8, 4, 3, 3), "edm_vpred.sigma_max": ()} | XL | VAE, "another kind of noise"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (2,)}, "Flux|flux"),
        ({"joint_blocks.0.context_block.adaLN_modulation.1.bias": (2,)}, "Stable Diffusion 3|sd3"),
        ({"lora_unet_down_blocks_0.lora_down.weight": (2, 2)}, r"is a LoRA \(--lora\)"),
        ({"decoder.up.0.block.0.conv1.weight": (2, 2)}, r"is an autoencoder \(--vae\)"),
        ({"emb_params": (2, 768)}, "is a textual inversion"),
        ({"adapter.body.0.resnets.0.block1.weight": (2, 2)}, "is a T2I-Adapter"),
        ({"control_model.input_hint_block.0.weight": (2, 2)}, "is a ControlNet"),
        ({"ip_adapter.1.to_k_ip.weight": (2, 2)}, "is an IP-Adapter"),
        ({"anything": (2,)}, "no model of a kind that is known here"),
        ({FIRST: (8, 4, 3, 3)} | VAE, "holds a UNet without its text encoder"),
        ({FIRST: (8, 4, 3, 3)} | TEXT, "holds no autoencoder: name one with --vae, such as stabilityai/sd-vae-ft-mse"),
    ],
)
def test_what_is_no_whole_base_model(tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str) -> None:
    file = file_of(tmp_path, shapes)
    with pytest.raises(UserError, match=said) as problem:
        is_xl_model(file, None, offline=True)  # this is asked before anything is fetched or loaded
        base_kind(file, has_vae=False)
    assert "\n" not in str(problem.value) and str(file) in str(problem.value)
