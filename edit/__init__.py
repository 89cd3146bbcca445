"""From a request to edited keyframes, or to an edited atlas. `edit.edit` is the stage as a function.

What leads to edited keyframes comes in here; what is read by rendering or aggregation too is atlas code: they meet on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)

if TYPE_CHECKING:
    from edit.api import edit

__all__ = ["edit"]


def __getattr__(name: str) -> Any:
    """Load the stage when it is asked for, so that importing the package costs nothing."""
    if name != "edit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edit import api

    return api.edit
