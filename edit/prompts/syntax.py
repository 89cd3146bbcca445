"""The notation of prompts that other tools have made usual: (red), (red:1.5), [red], BREAK, and \\( for a bracket itself.

Parentheses multiply what they hold by 1.1 or by the number given, square brackets divide it by 1.1, and both may be nested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atlas.errors import UserError

_STEP = 1.1
_LARGEST = 10.0  # weight: beyond, an encoding is nothing that the model has seen
_TOKEN = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    r"|(?P<open>[(\[])"
    r"|:\s*(?P<weight>[+-]?(\d+\.?\d*|\.\d+))\s*(?P<weighted>\))"
    r"|(?P<close>[)\]])"
    r"|(?P<text>[^\\()\[\]:]+|.)",
    re.DOTALL,
)
_CLOSES = {"(": ")", "[": "]"}
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_AND = re.compile(r"\bAND\b")
_FILES = re.compile(r"<(lora|lyco|hypernet):", re.IGNORECASE)
_ESCAPED = re.compile(r"\\[()\[\]\\]")
_TIMED = re.compile(r"\|[^\[\]]*\]|\[[^\[\]]*:\s*(\d+\.?\d*|\.\d+)\s*\]")


@dataclass(frozen=True)
class Fragment:
    """A piece of a prompt, all of it of one weight."""

    text: str
    weight: float = 1.0


def parsed(prompt: str) -> list[list[Fragment]]:
    """Take a prompt apart into its parts between BREAKs, each a list of weighted fragments.

    UserError where a bracket is left open, a weight is out of range, or what is written is not done here, or in another way.
    """
    if _FILES.search(prompt):
        raise UserError(f"the prompt names a file in {_near(prompt, _FILES)}: give LoRAs with --lora PATH:SCALE")
    bare = _ESCAPED.sub("", prompt)  # a bracket that stands for itself opens nothing
    if "[" in bare and _TIMED.search(bare):
        raise UserError(
            f"the prompt changes between steps ({_near(bare, _TIMED)}), which is not done here: leave the brackets out, "
            "or write \\[ for a bracket itself"
        )
    if _AND.search(prompt):
        raise UserError(
            f"the prompt joins several by AND ({_near(prompt, _AND)}), which is not done here: leave it out, or write and"
        )
    parts: list[list[Fragment]] = [[]]
    for fragment in _merged(_weighted(prompt)):
        first, *others = _BREAK.split(fragment.text)
        parts[-1].append(Fragment(first, fragment.weight))
        parts += [[Fragment(text, fragment.weight)] for text in others]
    return [[fragment for fragment in part if fragment.text] for part in parts]


def is_plain(prompt: str) -> bool:
    """Whether a prompt is text alone, with nothing of the notation in it."""
    return parsed(prompt) in ([[Fragment(prompt)]], [[]])


def _weighted(prompt: str) -> list[Fragment]:
    fragments: list[Fragment] = []
    opened: list[tuple[str, int]] = []  # brackets, and the number of fragments before each

    def close(weight: float) -> None:
        if abs(weight) > _LARGEST:
            raise UserError(f"the prompt has a weight of {weight:g}: choose from {-_LARGEST:g} to {_LARGEST:g}")
        start = opened.pop()[1]
        fragments[start:] = [Fragment(piece.text, piece.weight * weight) for piece in fragments[start:]]

    for match in _TOKEN.finditer(prompt):
        bracket = opened[-1][0] if opened else ""
        if match["open"]:
            opened.append((match["open"], len(fragments)))
        elif match["weighted"] and bracket == "(":
            close(float(match["weight"]))
        elif match["close"] and match["close"] == _CLOSES.get(bracket):
            close(_STEP if bracket == "(" else 1 / _STEP)
        else:
            fragments.append(Fragment(match["escaped"] or match[0]))
    if opened:
        left = opened[-1][0]
        raise UserError(f"the prompt has a {left} that is not closed: close it, or write \\{left} for a bracket itself")
    return fragments


def _merged(fragments: list[Fragment]) -> list[Fragment]:
    """Neighbours of one weight as one fragment: words that were scanned apart are read together."""
    merged: list[Fragment] = []
    for fragment in fragments:
        if merged and merged[-1].weight == fragment.weight:
            merged[-1] = Fragment(merged[-1].text + fragment.text, fragment.weight)
        else:
            merged.append(fragment)
    return merged


def _near(prompt: str, pattern: re.Pattern[str]) -> str:
    match = pattern.search(prompt)
    return ascii(prompt[match.start() : match.start() + 40]) if match else ""
