"""What is checked of a base model's folder before anything in it is loaded: that it names parts of Stable Diffusion alone.

model_index.json names a library and a class for each part, and diffusers imports what it names, a module beside it too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.weights.folder import check_folder, check_room, described, weight_bytes
from edit.models.trial import check_runs

INDEX = "model_index.json"
_TEXT = ("transformers", r"CLIPTextModel(WithProjection)?")
_WORDS = ("transformers", r"CLIPTokenizer(Fast)?")
# Of each part its library, and its classes.
_PARTS = {
    "unet": ("diffusers", r"UNet2DConditionModel"),
    "vae": ("diffusers", r"(Asymmetric)?AutoencoderKL|AutoencoderTiny"),
    "controlnet": ("diffusers", r"ControlNetModel"),
    "scheduler": ("diffusers", r"[A-Z][A-Za-z0-9]*Scheduler"),
    "text_encoder": _TEXT,
    "text_encoder_2": _TEXT,
    "tokenizer": _WORDS,
    "tokenizer_2": _WORDS,
    "image_encoder": ("transformers", r"CLIPVisionModelWithProjection"),
    "feature_extractor": ("transformers", r"CLIP(ImageProcessor(Fast|Pil)?|FeatureExtractor)"),
    "safety_checker": ("stable_diffusion", r"StableDiffusionSafetyChecker"),  # published models have it; it is never loaded
}
_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2", "image_encoder")
_LONGEST_PROMPT = 10_000  # tokens; each prompt is filled up to as many as the tokenizer says


def check_model(folder: Path) -> str:
    """Check a base model's folder, or that of a configuration, and return the name of its pipeline.

    UserError, which names the file and the entry, where it is of no family that this editor takes or names anything else.
    """
    file = folder / INDEX
    index = described(file)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline.isidentifier():  # a list names a module beside it
        raise UserError(f"{file} does not describe a model (its _class_name is no name of a pipeline): download it again")
    if not pipeline.startswith("StableDiffusion") or pipeline.startswith("StableDiffusion3"):
        raise UserError(f"{folder} is a {pipeline[:80]}: this editor takes Stable Diffusion 1.x, 2.x and XL")
    for name, entry in index.items():
        _check_entry(file, name, entry)
    for part in [folder, *(folder / name for name in _parts(index))]:
        check_folder(part)
        for program in sorted(part.glob("*.py")):
            raise UserError(f"{program} is a program, and a model is data: delete it if you know the rest to be in order")
        _check_tokenizer(part / "tokenizer_config.json")
    return pipeline


def check_model_room(folder: Path, size: int | None = None) -> None:
    """UserError where a network of a checked model is larger than its weights: `size` bytes, or those that lie beside it."""
    for name, network in network_classes(folder).items():
        part = folder / name
        check_network(part, name, network, weight_bytes(part, name) if size is None else size)


def network_classes(folder: Path) -> dict[str, Any]:
    """Classes of the networks that a checked model's folder names, by the names of their folders in it."""
    import diffusers
    import transformers

    libraries: dict[str, Any] = {"diffusers": diffusers, "transformers": transformers}
    parts = _parts(described(folder / INDEX))
    return {name: getattr(libraries[library], kind) for name, (library, kind) in parts.items() if name in _NETWORKS}


def check_network(folder: Path, what: str, network: Any, size: int) -> None:
    """UserError where the network of this class that a folder describes is larger than `size` bytes of weights can fill, or
    cannot run."""
    if hasattr(network, "config_class") and network.config_class is not None:
        config = network.config_class.from_pretrained(str(folder), local_files_only=True)
        check_room(folder, what, lambda: network(config), size)
    else:
        config = described(folder / "config.json")
        made = check_room(folder, what, lambda: network.from_config(config), size)
        if made is not None:
            check_runs(folder, what, made)


def _check_entry(file: Path, name: str, entry: Any) -> None:
    if name in ("custom_pipeline", "auto_map", "trust_remote_code"):
        raise UserError(f"{file} has the entry {name!r}, which can load programs: nothing is loaded")
    if entry in ([None, None], None) or (name.startswith("_") and isinstance(entry, str)):
        return
    if name not in _PARTS and isinstance(entry, bool | int | float | str):
        return
    library, kind = _PARTS.get(name, ("", "(?!)"))
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] != library or not re.fullmatch(kind, str(entry[1])):
        raise UserError(
            f"{file} has {ascii(entry)[:80]} for {ascii(name)[:40]}, which is no part of Stable Diffusion: nothing is loaded"
        )


def _parts(index: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Of the parts that are loaded from the folder: library and class."""
    apart = ("safety_checker", "controlnet")
    return {
        name: (str(entry[0]), str(entry[1]))
        for name, entry in index.items()
        if name in _PARTS and name not in apart and entry not in ([None, None], None)
    }


def _check_tokenizer(file: Path) -> None:
    if file.exists():
        longest = described(file).get("model_max_length", 0)
        if not isinstance(longest, int | float) or not longest <= _LONGEST_PROMPT:
            raise UserError(f"{file} asks for prompts of {str(longest)[:40]} tokens ('model_max_length'): download it again")
