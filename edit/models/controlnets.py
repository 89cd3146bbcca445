"""ControlNets, from a folder, a repository or a single file: of a kind that one picture can be held to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.errors import UserError
from atlas.weights.folder import check_folder, described, weight_bytes
from atlas.weights.hub import located
from atlas.weights.networks import check_complete, loaded_network
from edit.models.folder import check_network
from edit.models.kinds import check_controlnet_used, inferred, other_kind
from edit.models.weights import Weights

_CONFIGS = {
    "controlnet": "lllyasviel/control_v11p_sd15_canny",
    "controlnet_xl_large": "diffusers/controlnet-canny-sdxl-1.0",
    "controlnet_xl_mid": "diffusers/controlnet-canny-sdxl-1.0-mid",
    "controlnet_xl_small": "diffusers/controlnet-canny-sdxl-1.0-small",
}
"""Repositories that describe single files of each kind, by diffusers' names for these."""

_EMBEDDED = (16, 32, 96, 256)  # channels of a control image on its way down, as ControlNets usually have them


def loaded_controlnet(name: str, weights: Weights) -> Any:
    """Load a ControlNet; UserError where it is none, or none that is told its control by one picture."""
    from diffusers import ControlNetModel

    path = located(name, "ControlNet", offline=weights.offline)
    if path.is_dir():
        check_folder(path)
        check_description(name, described(path / "config.json"))
        check_network(path, "ControlNet", ControlNetModel, weight_bytes(path, "ControlNet"))
        return loaded_network(path, "ControlNet", ControlNetModel, weights.dtype)
    folder = described_by(path, offline=weights.offline)
    check_folder(folder)
    check_description(name, described(folder / "config.json"))
    check_network(folder, "ControlNet", ControlNetModel, path.stat().st_size)
    net = ControlNetModel.from_single_file(str(path), config=str(folder), torch_dtype=weights.dtype, local_files_only=True)
    check_complete(path, {"ControlNet": net})
    check_controlnet_used(path, net)
    return net


def described_by(path: Path, *, offline: bool) -> Path:
    """The folder whose config.json describes a ControlNet's single file: its own, or that of a repository of its kind."""
    kind = _kind(path)
    if (path.parent / "config.json").is_file():
        return path.parent
    if offline:
        raise UserError(f"{path} lies alone: put the ControlNet's config.json beside it, or leave out --offline")
    return located(_CONFIGS[kind], "ControlNet configuration", offline=offline)


def check_description(name: str, config: Mapping[str, Any]) -> None:
    """UserError where a description is that of another network, or of a ControlNet that asks for more than one picture."""
    kind = str(config.get("_class_name", "ControlNetModel"))
    if kind != "ControlNetModel":
        raise UserError(
            f"{name} holds a network of the kind {kind[:60]}, no ControlNet of Stable Diffusion: name one with --controlnet"
        )
    channels = config.get("conditioning_channels", 3)
    if channels != 3:
        raise UserError(f"the ControlNet {name} takes control images of {str(channels)[:20]} channels, not 3: name another")
    if len(config.get("conditioning_embedding_out_channels") or _EMBEDDED) != len(_EMBEDDED):
        raise UserError(f"the ControlNet {name} shrinks control images otherwise than 8 times: name another")
    if config.get("global_pool_conditions"):
        raise UserError(f"the ControlNet {name} takes a picture's look, not its shape (shuffle): use --image-prompt for that")


def _kind(path: Path) -> str:
    """Which kind of ControlNet a single file holds, of `_CONFIGS`; UserError where it holds none."""
    said, kind = other_kind(path), inferred(path)
    if not said.startswith(("a ControlNet (", "no model")) or kind not in _CONFIGS:
        raise UserError(f"{path} is {said}: name a ControlNet with --controlnet")
    return kind
