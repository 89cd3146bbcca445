"""Refusals of a command line: tyro's framed reports as one line that says what is wrong and what is wanted."""

from __future__ import annotations

import re

_NOUNS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a word", "{True,False}": "True or False"}
_OPTION = re.compile(r"(--[\w.-]+)(?: (\S.*))?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def refusal_of(report: str) -> str:
    """The one line of what tyro printed before it gave up. report: what came on standard error."""
    sections = _sections(report)
    if not sections:
        return "the command line is not understood: see --help"
    said, *more = sections
    if (wrong := re.match(r"Error parsing ([\w./-]+): ", said[0])) and (
        value := re.search(r"\['(.*?)'\]|'([^']*)'$", " ".join(said))
    ):
        wanted = _wanted(wrong[1], more)
        if wanted:
            return f"{wrong[1]} {value[1] or value[2] or ''}".rstrip() + f": give {wanted}"
    meant = [
        option[1] for rows in more if rows[0].startswith("Perhaps you meant") for row in rows if (option := _OPTION.match(row))
    ]
    advice = f"perhaps you meant {' or '.join(meant)}; see --help" if meant else "see --help"
    return f"{' '.join(said)}: {advice}".replace(".: ", ": ")


def _sections(report: str) -> list[list[str]]:
    """The rows of each part of a report, of which rules are between; the frame's title says less than what stands in it."""
    sections: list[list[str]] = [[]]
    rows = [_COLOUR.sub("", row).strip() for row in report.splitlines()]
    for row in rows[1:] if len(rows) > 1 else rows:
        text = row.strip("│╭╮╰╯ ")
        if text and not text.strip("─-"):
            sections.append([])
        elif text:
            sections[-1].append(text)
    return list(filter(None, sections))


def _wanted(option: str, sections: list[list[str]]) -> str:
    """What an option takes, in words, by the row of its help; "" where it is nothing of which a word says what it is."""
    for row in (row for rows in sections if rows[0].startswith("Argument helptext") for row in rows):
        if (found := _OPTION.match(row)) and found[1] == option and found[2]:
            kinds = [kind for kind in found[2].split("|") if kind != "{None}"]
            return " or ".join(_NOUNS[kind] for kind in kinds) if all(kind in _NOUNS for kind in kinds) else ""
    return ""
