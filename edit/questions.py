"""Questions that the command line may hold, answered whatever else is missing there."""

from __future__ import annotations

from edit.editors import EDITORS


def answer(arguments: list[str]) -> str | None:
    """What an editor explains where the command line has `help` after its option (`--filter help` lists the filters); None
    where it asks for nothing."""
    for editor in EDITORS.values():
        for name, explain in editor.explains.items():
            option = "--" + name.replace("_", "-")
            if f"{option}=help" in arguments or (option, "help") in zip(arguments, arguments[1:], strict=False):
                return explain()
    return None
