"""From edited keyframes to one edited atlas for each layer. `aggregate.aggregate` is the stage as a function.

What merges keyframes comes in here; how one keyframe comes into the atlas stands in `atlas.maps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)

if TYPE_CHECKING:
    from aggregate.api import aggregate

__all__ = ["aggregate"]


def __getattr__(name: str) -> Any:
    """Load the stage when it is asked for, so that importing the package costs nothing."""
    if name != "aggregate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aggregate import api

    return api.aggregate
