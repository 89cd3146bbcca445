"""Ways of keeping keyframes alike, one file each. They differ in the latent that denoising starts from, and in what is kept.

To add one: a file here with a subclass of `edit.strategies.protocol.Strategy`, and a line in `STRATEGIES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edit.strategies.protocol import Strategy


@dataclass(frozen=True)
class Registered:
    """A strategy by what it does, and its class; calling it makes one. The class is imported when one is made: it takes torch
    along, and whoever lists the names needs none."""

    meaning: str
    """As it stands in the command's help."""
    where: str | type[Strategy]
    """MODULE:CLASS, or the class itself."""

    def __call__(self) -> Strategy:
        from edit.strategies.protocol import Strategy

        strategy = resolve_name(self.where) if isinstance(self.where, str) else self.where
        if not issubclass(strategy, Strategy):
            raise TypeError(f"{strategy.__name__} in STRATEGIES is no subclass of edit.strategies.protocol.Strategy")
        return strategy()


STRATEGIES: dict[str, Registered] = {
    "propagate": Registered("each starts from how the earlier ones look in its view", "edit.strategies.propagate:Propagate"),
    "random": Registered("each starts from noise of its own", "edit.strategies.random:Random"),
    "fixed": Registered("all start from the same noise", "edit.strategies.fixed:Fixed"),
    "sequential": Registered("each starts from the one before it, unwarped", "edit.strategies.sequential:Sequential"),
}
