"""The request of an edit as it is saved beside the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from atlas.errors import UserError
from edit.request.options import EditOptions


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
