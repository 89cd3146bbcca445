"""Descriptions of networks that cannot run are refused before any weight is loaded; those of the usual sizes run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import UserError
from atlas.weights.folder import weight_bytes
from edit.models.folder import check_network
from edit.models.trial import check_runs


@pytest.mark.parametrize(
    ("part", "entry"),
    [
        ("controlnet-sd", {"freq_shift": "none"}),
        ("controlnet-xl", {"projection_class_embeddings_input_dim": 7}),
        ("sd/unet", {"flip_sin_to_cos": {}, "freq_shift": []}),
        ("sd/unet", {"norm_num_groups": 3}),
        ("sd/vae", {"scaling_factor": 1, "latent_channels": 4, "norm_num_groups": "4"}),
    ],
)
def test_what_cannot_run_is_refused(models: Path, tmp_path: Path, part: str, entry: dict[str, Any]) -> None:
    import diffusers

    folder = shutil.copytree(models / part, tmp_path / "net")
    file = folder / "config.json"
    described = json.loads(file.read_text())
    network = getattr(diffusers, described["_class_name"])
    check_network(folder, "network", network, weight_bytes(folder, "network"))
    file.write_text(json.dumps(described | entry))
    with pytest.raises((UserError, TypeError, ValueError)) as refused:  # what cannot be made is told by the one who loads
        check_network(folder, "network", network, weight_bytes(folder, "network"))
    if refused.type is UserError:
        assert "net/config.json describes a network that cannot run" in str(refused.value)
    assert refused.type is UserError or "norm_num_groups" in entry


def test_networks_of_the_published_sizes_run() -> None:
    """Of Stable Diffusion 1.5: nothing is allocated for it."""
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        controlnet = diffusers.ControlNetModel(cross_attention_dim=768)
    for network in (unet, controlnet):
        check_runs(Path("model"), "network", network)
