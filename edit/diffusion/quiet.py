"""diffusers and transformers kept from writing to standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from logging import CRITICAL

from atlas.system import quiet as transformers


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is wrong is said by us, in one line; what is deprecated is no concern of who runs this."""
    import diffusers

    level = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity(CRITICAL)
    diffusers.utils.logging.disable_progress_bar()
    try:
        with transformers.quiet():
            yield
    finally:
        diffusers.utils.logging.set_verbosity(level)
