"""The aggregate stage as a function: the command's options are its keywords."""

from __future__ import annotations

from typing import Any

from aggregate import stage
from aggregate.stage import AggregateOptions
from atlas.api.keywords import options_from, with_keywords_of
from atlas.api.things import Edit


@with_keywords_of(AggregateOptions)
def aggregate(edit: Edit, **options: Any) -> Edit:
    """Aggregate the keyframes of an edit into one atlas for each layer; returns the edit, ready to be rendered.

    Keywords: the fields of `AggregateOptions`, such as method.
    """
    stage.aggregate(options_from(AggregateOptions, clip=edit.clip.folder, edit=edit.name, **options))
    return edit
