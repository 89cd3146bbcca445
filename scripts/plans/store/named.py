"""Sources that a task's command names: which of its words are files and folders from outside of the clip."""

from __future__ import annotations

import os
from pathlib import Path

from atlas.errors import UserError
from scripts.plans.options import STAGES, option_of
from scripts.plans.places import FILES
from scripts.plans.plan import Task
from scripts.plans.store.sources import Source


def named_sources(task: Task) -> list[Source]:
    """Files and folders of this machine that a task's command names by their absolute paths, but for those of its clip.

    UserError where one of them holds the clip itself.
    """
    sources = []
    for word in task.command:
        flag, _, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if not _may_be_a_file(task.stage, flag.removeprefix("--")):
            continue
        for text in (value, value.rpartition(":")[0]):  # the scale of a LoRA stands behind it
            if os.path.isabs(text) and "\0" not in text and os.path.exists(text):
                if not Path(text).is_relative_to(task.clip):
                    if Path(task.clip).is_relative_to(text):
                        raise UserError(f"{task.title} reads {text}, which holds the clip's own folder: name another one")
                    sources.append(Source(Path(text), os.path.isfile(text)))
                break
    return sources


def _may_be_a_file(stage: str, flag: str) -> bool:
    """Whether an option's value may name a file; a prompt does not, whatever it looks like."""
    option = option_of(stage, flag) if flag and stage in STAGES else None
    return option is None or option.is_path or option.name in FILES
