"""The request of an edit as it is saved beside the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edit.request.options import LayerOptions, Target


@dataclass
class EditRequest:
    """What was asked for one layer. `keyframes` is the text of the command, `seed` counts for editors that draw."""

    editor: str
    keyframes: str | None = None
    seed: int = 0
    own: dict[str, Any] = field(default_factory=dict)
    """Options of the editor itself that were given, JSON-ready, by the names that edit.json has for them."""
    target: Target = "keyframes"

    @classmethod
    def of(cls, options: LayerOptions, target: Target, own: dict[str, Any]) -> EditRequest:
        """The part of the command's options that describes one layer's edit."""
        return cls(options.editor, options.keyframes, options.seed, own, target)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without what was not given."""
        keyframes = {} if self.keyframes is None else {"keyframes": self.keyframes}
        return {"editor": self.editor, **self._on(), **keyframes, "seed": self.seed, **self.own}

    def fingerprint(self) -> dict[str, Any]:
        """What of the request decides the result; an editor's own options count in its own fingerprint.

        The text of a filter stands here as well: stamps that were written so stay valid.
        """
        return {"editor": self.editor, **self._on(), "seed": self.seed, "filter": self.own.get("filter")}

    def _on(self) -> dict[str, str]:
        """What is edited, where edit.json does not tell it otherwise."""
        return {"on": self.target} if self.target == "frames" else {}
