"""Whether a model's parts are those of Stable Diffusion 1.x, 2.x or XL, and fit each other: told from their descriptions.

Many models load as Stable Diffusion and are none of these: inpainting, upscaling, the refiner. Their first step would fail,
or go wrong unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.errors import UserError

_LATENT = 4  # channels
_BLOCKS = 4  # of autoencoders and of what shrinks control images: each but the first halves the sides
_KINDS = {9: "inpainting", 8: "following instructions (InstructPix2Pix)", 7: "upscaling", 5: "depth"}
# Inputs of a UNet beside latent, time and text, each with what asks for it.
_FURTHER_INPUTS = {
    "class_embed_type": "classes or noise levels",
    "num_class_embeds": "noise levels (upscaling)",
    "encoder_hid_dim_type": "another text encoder",
    "time_cond_proj_dim": "the guidance itself (LCM: use the LCM LoRA of its base model instead)",
}
_TAKEN = "this editor takes Stable Diffusion 1.x, 2.x and XL"


def check_kinds(name: str, unet: Mapping[str, Any], vae: Mapping[str, Any], texts: int, *, is_xl: bool) -> None:
    """UserError where a model with these descriptions, and that many text encoders, is of a kind that is not run here."""
    channels = unet.get("in_channels", _LATENT)
    if channels != _LATENT or unet.get("out_channels", _LATENT) != _LATENT:
        kind = f", as for {_KINDS[channels]}" if channels in _KINDS else ""
        raise UserError(f"the UNet of {name} takes {_short(channels)} channels, not {_LATENT}{kind}: {_TAKEN}")
    if not isinstance(unet.get("sample_size"), int):
        raise UserError(f"the UNet of {name} does not say for which size it is made (sample_size): {_TAKEN}")
    for entry, needs in _FURTHER_INPUTS.items():
        if unet.get(entry) is not None:
            raise UserError(f"the UNet of {name} asks for {needs} ({entry}): {_TAKEN}")
    if unet.get("attention_type", "default") != "default":
        raise UserError(f"the UNet of {name} has attention of the kind {_short(unet['attention_type'])}: {_TAKEN}")
    if texts != 1 + is_xl:
        refiner = ", as XL's refiner has" if is_xl and texts == 1 else ""
        raise UserError(f"{name} has {texts} text encoders, not {1 + is_xl}{refiner}: {_TAKEN}")
    added = unet.get("addition_embed_type")
    if added != ("text_time" if is_xl else None):
        raise UserError(f"the UNet of {name} asks for further input of the kind {_short(added)}: {_TAKEN}")
    check_vae(f"the autoencoder of {name}", vae)


def check_widths(name: str, unet: Mapping[str, Any], texts: Sequence[Mapping[str, Any]], *, is_xl: bool) -> None:
    """UserError where a UNet reads other numbers than its text encoders, so described and in their order, give."""
    width, wanted = sum(int(text.get("hidden_size", 512)) for text in texts), unet.get("cross_attention_dim", 1280)
    if _plain(wanted) not in (width, [width]):
        raise UserError(
            f"the UNet of {name} reads {_short(_plain(wanted))} numbers a token, and its text encoders give {width}: {_TAKEN}"
        )
    if is_xl:
        times, pooled = int(unet.get("addition_time_embed_dim") or 0), int(texts[1].get("projection_dim", 512))
        read = unet.get("projection_class_embeddings_input_dim")
        if read != 6 * times + pooled:
            kind = ", as XL's refiner does" if read == 5 * times + pooled else ""
            raise UserError(
                f"the UNet of {name} takes {_short(read)} further numbers, not {6 * times + pooled}{kind}: {_TAKEN}"
            )


def check_vae(what: str, vae: Mapping[str, Any]) -> None:
    """UserError where an autoencoder's latents are not those of Stable Diffusion."""
    if vae.get("latent_channels", _LATENT) != _LATENT or vae.get("in_channels", 3) != 3:
        raise UserError(f"{what} has {_short(vae.get('latent_channels'))} latent channels, not {_LATENT}: {_TAKEN}")
    blocks = vae.get("block_out_channels") or vae.get("decoder_block_out_channels") or [0] * _BLOCKS
    if len(blocks) != _BLOCKS:
        raise UserError(
            f"{what} makes pictures {2 ** (len(blocks) - 1)} times as large as their latents, not 8 times: {_TAKEN}"
        )
    if vae.get("shift_factor"):
        raise UserError(f"{what} shifts its latents, as those of other models than Stable Diffusion do: {_TAKEN}")


def check_controlnets(controlnets: Sequence[tuple[str, Any]], model: str, unet: Mapping[str, Any]) -> None:
    """UserError where a ControlNet (by its name) was made for another kind of model than one with this UNet's description."""
    for name, controlnet in controlnets:
        for what in _compared(controlnet.config):
            there, wanted = (_plain(config.get(what)) for config in (controlnet.config, unet))
            if what in unet and there != wanted:
                raise UserError(
                    f"the ControlNet {name} is of another family than the model {model} ({what} {there}, not {wanted}): "
                    "name one that was made for this model with --controlnet"
                )


def check_tokens(name: str, readers: Sequence[tuple[Any, Any]]) -> None:
    """UserError where a tokenizer gives more tokens, or others, than the text encoder beside it reads."""
    for tokenizer, encoder in readers:
        longest, words = encoder.config.max_position_embeddings, encoder.config.vocab_size
        if not 3 <= tokenizer.model_max_length <= longest or len(tokenizer) > words:
            given = f"{tokenizer.model_max_length} tokens of {len(tokenizer)} kinds"
            raise UserError(
                f"a tokenizer of {name} gives {given}, and its text encoder reads {longest} of {words}: they do not fit"
            )


def _compared(config: Mapping[str, Any]) -> list[str]:
    """Entries that a ControlNet's description shares with its UNet's: small ones do without text, and without XL's sizes."""
    compared = ["in_channels", "block_out_channels", "layers_per_block"]
    if config.get("addition_embed_type") is not None:
        compared += ["addition_embed_type", "projection_class_embeddings_input_dim"]
    reads_text = any("CrossAttn" in str(block) for block in config.get("down_block_types") or ["CrossAttn"])
    return ["cross_attention_dim"] * reads_text + compared


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    return str(value)[:60]
