"""Config of a fit as one dataclass, and the presets that fill it in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from atlas.errors import UserError
from atlas.model.fields import NetworkConfig
from atlas.options.fit import PresetName


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses (`atlas.model.losses`), in the published proportions."""

    reconstruction: float = 5000.0
    gradient: float = 1000.0
    rigidity: float = 1.0
    flow: float = 5.0
    opacity_flow: float = 49.0
    mask: float = 200.0
    """Of the cross-entropy against the given masks: a prior throughout, not a bootstrap that is dropped."""
    sparsity: float = 0.0
    """0: an atlas that is solved, not learned, holds nothing where it is not seen; there for ablations."""


@dataclass(frozen=True)
class FitConfig:
    """Everything that determines a fit beside the clip and the machine; saved as config.json."""

    preset: str
    seed: int = 0
    follow_edges: bool = True
    """Move the outlines of masks that are drawn too wide, too tight or roughly to the edges of the picture."""
    rounds: tuple[float, ...] = (16.0, 8.0, 4.0, 3.0, 2.0, 2.0)
    """Registration rounds: pixels over which each smooths its correction."""
    epochs: int = 2
    """Times that the gradient steps are followed by closed-form passes for atlases and light."""
    steps: int = 200
    """Gradient steps in each epoch."""
    passes: int = 2
    """Closed-form passes for the atlases after each epoch."""
    patches: int = 192
    """Patches of a gradient step."""
    patch_size: int = 8
    """Pixels along a patch's side."""
    texels_per_pixel: float = 1.0
    """Atlas texels per pixel of the layer's largest view."""
    learning_rate: float = 2e-3
    """Adam's, for the networks."""
    offset_learning_rate: float = 1e-5
    """Adam's, for the registered offsets, in uv; 0 keeps them."""
    mapping: NetworkConfig = field(default_factory=lambda: NetworkConfig(octaves=4, reach=0.01, bf16=True))
    opacity: NetworkConfig = field(default_factory=lambda: NetworkConfig(octaves=6, reach=1.0, bf16=True))
    losses: LossWeights = field(default_factory=LossWeights)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self) | {"rounds": list(self.rounds)}


PRESETS: dict[str, FitConfig] = {
    "preview": FitConfig("preview", rounds=(12.0, 3.0), epochs=0, passes=0),
    "standard": FitConfig("standard"),
    "best": FitConfig(
        "best", rounds=(16.0, 8.0, 4.0, 3.0, 2.0, 2.0, 2.0, 2.0), epochs=4, steps=300, passes=3, texels_per_pixel=1.5
    ),
}


def preset(name: str, seed: int) -> FitConfig:
    """The preset `name`; UserError where there is none."""
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}: choose one of {', '.join(get_args(PresetName))}")
    return replace(PRESETS[name], seed=seed)
