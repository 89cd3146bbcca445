"""What the user asked for: options of the command, and the request as it is saved beside the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from atlas.command import CommonOptions
from atlas.errors import UserError
from edit.diffusion.options import DiffusionOptions


@dataclass(kw_only=True)
class LayerOptions(CommonOptions):
    """Which layer is edited, and by what."""

    clip: tyro.conf.Positional[Path]
    """Folder of the clip."""
    name: str
    """Name of the edit; one edit may hold several layers."""
    layer: str
    """Layer to edit: `foreground`, `background`, `foreground-1`, ..."""
    editor: str
    """How to edit: `diffusion` (by a prompt), `images` (keyframes edited elsewhere), `filter` (needs no model) or `atlas` (a painted atlas)."""  # noqa: E501
    fit: str = "default"
    """Fit that the edit stands on."""
    keyframes: str | None = None
    """Frame numbers such as 0,12,24, or auto:K for the K frames that together cover most of the layer. Default: auto:5; with --editor images the frames found there."""  # noqa: E501
    seed: int = 0
    """Seed of editors that draw random numbers."""
    images: Path | None = None
    """With --editor images: folder of edited frames named by frame number (12.png, frame_00012.jpg), RGB or RGBA, alpha = where the edit applies."""  # noqa: E501
    filter: str | None = None
    """With --editor filter: NAME[:key=value,...], such as recolour:color=orange,strength=0.8; `--filter help` lists all."""
    image: Path | None = None
    """With --editor atlas: a painted copy of the layer's atlas.png, or paint on transparent that goes over it. The latter may
    be of another size: square, or cropped to what is seen of the layer."""
    keep: Path | None = None
    """Mask of the layer's atlas, of its size: white keeps the original. Copied to the edit's keep/LAYER.png, where it may be repainted."""  # noqa: E501
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """With --editor diffusion: where to compute; auto takes a GPU where there is one."""


@dataclass(kw_only=True)
class EditOptions(DiffusionOptions, LayerOptions):
    """Edit keyframes of a layer, or its atlas. The same --name adds another layer to an edit."""


def answer(arguments: list[str]) -> str | None:
    """The list of filters where the command line has `--filter help`; None where it asks for nothing."""
    if "--filter=help" not in arguments and ("--filter", "help") not in zip(arguments, arguments[1:], strict=False):
        return None
    from edit.editors.filters import filter_help

    return "\n".join(filter_help())


@dataclass
class EditRequest:
    """What was asked for one layer. `keyframes` is the text of the command, `seed` counts for editors that draw."""

    editor: str
    keyframes: str | None = None
    seed: int = 0
    images: str | None = None
    filter: str | None = None
    image: str | None = None
    diffusion: dict[str, Any] | None = None
    """What was chosen for --editor diffusion."""

    @classmethod
    def of(cls, options: EditOptions) -> EditRequest:
        """The part of the command's options that describes one layer's edit."""
        images, image = (None if path is None else str(path) for path in (options.images, options.image))
        chosen = options.settings() | {"on": options.target(options.layer)} if options.editor == "diffusion" else None
        return cls(options.editor, options.keyframes, options.seed, images, options.filter, image, chosen)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EditRequest:
        """A request as saved in edit.json; keys that are not of the request are left aside."""
        try:
            return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})
        except TypeError:
            raise UserError("a layer's request in edit.json names no editor: run scripts/edit.py again") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what was not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def fingerprint(self) -> dict[str, Any]:
        """What of the request decides the result. Files count by their bytes (the editor adds these), not by name."""
        return {"editor": self.editor, "seed": self.seed, "filter": self.filter}
