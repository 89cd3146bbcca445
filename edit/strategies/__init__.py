"""Ways of keeping keyframes alike, one file each. They differ in the latent that denoising starts from, and in what is kept.

To add one: a file here with a class that follows `Strategy`, a line in `STRATEGIES`, its name in `edit.request.prompting`.
"""

from __future__ import annotations

from edit.strategies.fixed import Fixed
from edit.strategies.propagate import Propagate
from edit.strategies.protocol import Strategy
from edit.strategies.random import Random
from edit.strategies.sequential import Sequential

STRATEGIES: dict[str, type[Strategy]] = {
    "propagate": Propagate,
    "random": Random,
    "fixed": Fixed,
    "sequential": Sequential,
}
