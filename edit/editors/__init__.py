"""Editors: each edits frames, or the layer's atlas itself. This file is their registry, and what it imports loads no torch.

To add one: a file here with a class that follows `edit.editors.protocol.Editor` and a dataclass of its options, a line in
`EDITORS`, and the dataclass among the bases of `EditOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from edit.editors.filters import FilterEditor, FilterOptions
from edit.editors.images import ImagesEditor, ImagesOptions
from edit.editors.painted import PaintedEditor, PaintedOptions
from edit.editors.prompt import PromptEditor, PromptOptions
from edit.editors.protocol import Editor

EDITORS: dict[str, type[Editor[Any]]] = {
    "images": ImagesEditor,
    "filter": FilterEditor,
    "atlas": PaintedEditor,
    "diffusion": PromptEditor,
}
_HELP = f"How to edit: {', '.join(f'`{name}` ({editor.meaning})' for name, editor in EDITORS.items())}."


@dataclass(kw_only=True)
class EditOptions(PromptOptions, PaintedOptions, FilterOptions, ImagesOptions):
    """Edit keyframes of a layer, or its atlas. The same --name adds another layer to an edit."""

    editor: Annotated[str, tyro.conf.arg(help=_HELP)]
