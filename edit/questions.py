"""Questions that the command line may hold, answered whatever else is missing there."""

from __future__ import annotations


def answer(arguments: list[str]) -> str | None:
    """The list of filters where the command line has `--filter help`; None where it asks for nothing."""
    if "--filter=help" not in arguments and ("--filter", "help") not in zip(arguments, arguments[1:], strict=False):
        return None
    from edit.editors.filters import filter_help

    return "\n".join(filter_help())
