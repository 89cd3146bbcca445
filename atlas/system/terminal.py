"""Text to be read, on a terminal first of all: what names, files and other programs say cannot steer it."""

from __future__ import annotations

import re
import sys
from typing import TextIO

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 2000


def visible(text: str) -> str:
    """Text with control characters (but new lines and tabs), marks that turn its direction, and half characters as escapes.

    An escape code is then seen as \\x1b and what follows it, and does nothing.
    """
    return _STEERING.sub(lambda match: _escape(ord(match[0])), text)


def in_one_line(text: str) -> str:
    """The same without line breaks; of what is very long, beginning and end."""
    line = visible(" ".join(text.split()))
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} ... {line[-half:]}"


def in_markdown(text: str) -> str:
    """Text of whatever origin for a cell or line of Markdown: it opens no further cell, and is no HTML."""
    return in_one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", r"\|")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text, on standard output if no other stream is named, as `visible`. What the stream cannot encode is escaped."""
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(visible(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
