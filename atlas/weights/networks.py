"""One network of a folder: loaded from whichever precision lies there, and every weight of it used."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from atlas.errors import UserError, one_line

# What text encoders are published with beside what Stable Diffusion asks of them: tables of numbers, and CLIP's other half.
_BESIDE_TEXT = re.compile(
    r"(.*\.)?position_ids|(.*\.)?text_projection(\.weight)?|logit_scale|(vision_model|visual_projection)\..*"
)
ANYTHING = re.compile(r".*")
"""Names of all weights, where those of other parts of a model may lie beside a network's."""
_INDEX = re.compile(r"(diffusion_pytorch_model|model)\.safetensors\.index(\.\w+)?\.json")
_WHOLE = re.compile(r"(diffusion_pytorch_model|model)(\.\w+)?\.safetensors")
_SHOWN = 3  # names of weights in a message


def loaded_network(
    folder: Path, what: str, network: Any, dtype: torch.dtype, *, config: Any = None, beside: re.Pattern[str] = _BESIDE_TEXT
) -> Any:
    """Load the network of this class that a checked folder holds; UserError where weights and description do not match.

    Of several precisions the usual file is taken, else `fp16`, else any other: many repositories hold that alone.
    config: its description; None for the folder's own. beside: names of weights that may lie there without being its.
    """
    loaded, found = network.from_pretrained(
        str(folder),
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        variant=variant(folder),
        output_loading_info=True,
        **({} if config is None else {"config": config}),
    )
    unused = sorted(name for name in found["unexpected_keys"] if not beside.fullmatch(name))
    check_names(folder, what, unused, sorted(found["missing_keys"]))
    return loaded


@contextlib.contextmanager
def loading(folder: Path, what: str) -> Iterator[None]:
    """UserError, in one line, for whatever a library raises while it loads what a folder holds."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except torch.cuda.OutOfMemoryError:
        raise UserError(f"out of GPU memory while loading {folder}: try --device cpu") from None
    except Exception as problem:  # transformers raises nearly every kind there is
        raise UserError(f"{folder} cannot be loaded as a {what}: {one_line(problem)}") from None


def variant(folder: Path) -> str | None:
    """The word in the names of a folder's weights, such as `fp16`; None where they have the usual names."""
    names = [file.name for file in folder.iterdir()]
    words = {match[2] for name in names for match in (_WHOLE.fullmatch(name), _INDEX.fullmatch(name)) if match}
    if None in words or not words:
        return None
    return "fp16" if ".fp16" in words else min(words).removeprefix(".")


def check_names(place: Path, what: str, unused: Iterable[str], missing: Iterable[str]) -> None:
    """UserError where weights lie there that the network does not have, or it has some that do not."""
    for names, said in (
        (unused, f"holds weights that the {what} of its description does not have"),
        (missing, f"lacks {what} weights"),
    ):
        named = list(names)
        if named:
            some = ", ".join(named[:_SHOWN]) + f" and {len(named) - _SHOWN} more" * (len(named) > _SHOWN)
            raise UserError(f"{place} {said} ({ascii(some)[1:-1][:240]}): it is of another kind, or damaged")


def check_complete(place: Path, parts: dict[str, Any]) -> None:
    """UserError where networks that were made from one file lack weights that it should hold."""
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            missing = [weight for weight, value in part.named_parameters() if value.is_meta]
            check_names(place, name, [], missing)
