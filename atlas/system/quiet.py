"""transformers and diffusers kept from writing to standard error."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from logging import CRITICAL


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is wrong is said by us, in one line; what is deprecated is no concern of who runs this."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch_dtype: its new name is not in older versions
            yield
    finally:
        logging.set_verbosity(level)


@contextlib.contextmanager
def quiet_diffusers() -> Iterator[None]:
    """`quiet` for transformers and for diffusers, which stands on it."""
    from diffusers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        logging.set_verbosity(level)
