"""Options of measuring fits and edits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from atlas.errors import UserError
from atlas.options.render import Light, Mode, Transfer
from atlas.system.command import StageOptions
from atlas.system.device import Device


@dataclass(kw_only=True)
class LearnedOptions:
    """Options of the metrics that need weights."""

    prompt: str | None = None
    """What the frames are to show, for CLIP-text. Default: the prompts that the edit was made with."""
    weights: Literal["auto", "none"] = "auto"
    """auto: CLIP and DINOv2 are used where they lie in the cache or a folder; none: not at all, which is faster."""
    download: bool = False
    """Fetch the weights of CLIP (1.7 GB) and DINOv2 (0.3 GB) from the Hugging Face hub where the cache lacks them."""
    clip_model: str | None = None
    """CLIP model for CLIP-text and CLIP-frame: hub id or folder. Default: openai/clip-vit-large-patch14."""
    dino_model: str | None = None
    """DINOv2 model for object consistency: hub id or folder. Default: facebook/dinov2-base."""
    lpips_weights: Path | None = None
    """Weights of LPIPS, one .safetensors file; wherever the package lpips runs, this makes it: python -c "import lpips, safetensors.torch as s; s.save_file({k: v.clone() for k, v in lpips.LPIPS(net='alex').state_dict().items()}, 'lpips.safetensors')"."""  # noqa: E501
    device: Device = "auto"
    """Where to compute; auto takes a GPU where there is one."""

    def check_weights(self, *, with_edit: bool = True) -> None:
        """UserError for options that contradict each other or need an edit, or a prompt without words."""
        named: dict[str, object] = {
            "--download": self.download,
            "--clip-model": self.clip_model,
            "--dino-model": self.dino_model,
            "--lpips-weights": self.lpips_weights,
        }
        option = next((name for name, value in named.items() if value), None)
        if not with_edit and (option or self.prompt is not None):
            raise UserError(f"{option or '--prompt'} is for measuring an edit: name one with --edit")
        if self.weights == "none" and option:
            raise UserError(f"--weights none uses no weights, and {option} asks for some: leave one of them out")
        if self.prompt is not None and not self.prompt.strip():
            raise UserError("--prompt is empty: say what the frames are to show, or leave it out")


@dataclass(kw_only=True)
class EvaluateOptions(LearnedOptions, StageOptions):
    """Measure a fit, and with --edit an edit of it. Numbers are also written to metrics.json in their folders."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    fit: str | None = None
    """Name of the fit. Default: that of the edit, else "default"."""
    edit: str | None = None
    """Name of an edit to measure as well."""
    mode: Mode = "auto"
    """How the edit is rendered for it, as in scripts/render.py."""
    transfer: Transfer = "local"
    """What becomes of detail that the fit does not hold, as in scripts/render.py."""
    light: Light = "auto"
    """Whether the fit's light is applied to the edit, as in scripts/render.py."""
    truth: Path | None = None
    """Folder with the true maps of the clip (a sample's truth/): the mapping is compared with them as well."""
    points: Path | None = None
    """CSV file of points that people marked in two frames each, as TAP-Vid has them: the mapping is held against them as well.
    Columns clip, width, height, frame_a, x_a, y_a, frame_b, x_b, y_b; rows of other clips are left out."""
    report: bool = False
    """With --edit: also write report.html in the edit's folder, one file with film, pictures and numbers, to be passed on."""
    compare: tuple[str, ...] = ()
    """Names of several edits: measure each and print them in one table (--report: also edits/comparison.html)."""
    json: bool = False
    """Print JSON instead of a table."""
