"""From a request to edited keyframes, to edited frames that agree, or to an edited atlas.

`edit.edit` and `edit.deflickered` are the stages as functions. What leads to edited keyframes comes in here; what is read by
rendering or aggregation too is atlas code: they meet on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import atlas  # noqa: F401  (sets how torch's threads wait, before torch is loaded)

if TYPE_CHECKING:
    from edit.api import deflickered, edit

__all__ = ["deflickered", "edit"]


def __getattr__(name: str) -> Any:
    """Load a stage when it is asked for, so that importing the package costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edit import api

    return getattr(api, name)
