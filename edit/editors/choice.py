"""The editor that the options ask for, checked as far as that takes no clip."""

from __future__ import annotations

from typing import Any

from atlas.clip.clip import WHOLE_FRAME
from atlas.errors import UserError
from edit.editors import EDITORS
from edit.editors.protocol import Editor
from edit.request.keyframes import DEFAULT, automatic_count
from edit.request.options import LayerOptions


def editor_class(options: LayerOptions) -> type[Editor[Any]]:
    """The class of --editor; UserError lists the editors where there is none of that name."""
    if options.editor not in EDITORS:
        raise UserError(f"this version has no {options.editor} editor: --editor is one of {', '.join(EDITORS)}")
    return EDITORS[options.editor]


def chosen_editor(options: LayerOptions) -> Editor[Any]:
    """The editor, given what it needs and nothing that is another's, and content with it; UserError otherwise."""
    editor = editor_class(options)
    if not isinstance(options, editor.options_type):
        raise TypeError(f"the options of --editor {options.editor} are not among the bases of {type(options).__name__}")
    for name, other in EDITORS.items():
        if other is editor and getattr(options, editor.needs) is None:
            raise UserError(f"--editor {name} needs --{_dashed(editor.needs)}")
        for option, default in other.own_options().items():
            if option not in editor.own_options() and getattr(options, option, default) != default:
                other_than = f"not --editor {options.editor}: leave one of them out"
                raise UserError(f"--{_dashed(option)} is for --editor {name}, {other_than}")
    opened = editor(options)
    _check_target(opened)
    opened.check_early()
    automatic_count(options.keyframes or DEFAULT)
    return opened


def _check_target(editor: Editor[Any]) -> None:
    """UserError where an editor cannot edit what --on names, or where other options say something else than --on."""
    options = editor.options
    if options.on is not None and options.on not in editor.targets:
        can = " or ".join(editor.targets)
        raise UserError(f"--on {options.on} is not for --editor {options.editor}, which edits {can}: say --on {can}")
    if options.on == "frames":
        if options.keyframes is not None:
            raise UserError("--keyframes chooses some frames, --on frames edits every one: leave one of them out")
        if options.keep is not None:
            raise UserError("--keep is a mask of the atlas, --on frames edits the frames themselves: leave one of them out")
    elif options.layer == WHOLE_FRAME:
        raise UserError(f"--layer {WHOLE_FRAME}, the whole frame, is for --on frames: say that too, or name one layer")


def _dashed(option: str) -> str:
    return option.replace("_", "-")
