"""The aggregate stage as a function: the command's options are its keywords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aggregate import stage
from aggregate.stage import AggregateOptions
from atlas.api.keywords import options_from, with_keywords_of
from atlas.api.things import Edit, opened_edit
from atlas.clip.clip import Clip


@with_keywords_of(AggregateOptions)
def aggregate(edited: Edit | Clip | Path | str, edit: str | None = None, **options: Any) -> Edit:
    """Aggregate the keyframes of an edit, or of the edit of this name of a clip, into one atlas for each layer.

    Returns the edit, ready to be rendered. Keywords: the fields of `AggregateOptions`, such as method.
    """
    opened = opened_edit(edited, edit)
    stage.aggregate(options_from(AggregateOptions, clip=opened.clip.folder, edit=opened.name, **options))
    return opened
