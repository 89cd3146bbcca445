"""Forms of the stages: their fields are those of the options' dataclasses, with the docstrings as help; and back to a command.

There is no second list of options. A refusal, of a form, of the parser or of the command itself, is told beside its field.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import re
import textwrap
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from atlas.errors import UserError
from atlas.system.command import CommonOptions, parse_options
from scripts.webapp.paths import given_path, refuse_outside

Kind = Literal["text", "path", "whole", "number", "switch", "choice"]
_OPTIONS = {
    "prepare": "atlas.preparation.stage:PrepareOptions",
    "fit": "atlas.options.fit:FitOptions",
    "edit": "edit.editors:EditOptions",
    "aggregate": "atlas.options.aggregate:AggregateOptions",
    "render": "atlas.options.render:RenderOptions",
    "deflicker": "edit.deflicker.options:DeflickerOptions",
    "evaluate": "atlas.options.evaluate:EvaluateOptions",
    "export": "atlas.options.export:ExportOptions",
}
STAGES = tuple(_OPTIONS)
"""The stages that have a form."""
_KINDS: dict[Any, Kind] = {str: "text", Path: "path", int: "whole", float: "number", bool: "switch"}
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
_MOST_CHARACTERS = 10_000
_PARSING = threading.Lock()
"""What the parser says it writes to the streams of the whole process: of requests that are answered at once, one parses."""


@dataclass(frozen=True)
class Field:
    """A field of a form: one option of a command."""

    name: str
    """As the dataclass has it."""
    option: str
    """As the command line has it, `--max-side`; "" of what is told by its position."""
    kind: Kind
    """Of one value."""
    choices: tuple[str, ...]
    """What can be chosen; () for whatever suits the kind."""
    default: Any
    """JSON-ready; None where there is none, or where the command decides."""
    help: str
    group: str
    """First sentence about the dataclass that it comes from, which tells options of an editor from others."""
    required: bool = False
    optional: bool = False
    """Whether leaving it empty means something: the command decides."""
    count: int | None = 1
    """How many values it takes; None for any number."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


class FormError(UserError):
    """What is wrong in a form, by field; "" is the form as a whole."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(errors.values()))


@cache
def options_of(stage: str) -> type[CommonOptions]:
    """The dataclass of a stage's options; UserError where there is no such stage."""
    if stage not in _OPTIONS:
        raise UserError(f"there is no stage {stage[:60]!r}: choose one of {', '.join(_OPTIONS)}")
    module, _, name = _OPTIONS[stage].partition(":")
    options: type[CommonOptions] = getattr(importlib.import_module(module), name)
    return options


@cache
def form_of(stage: str) -> tuple[Field, ...]:
    """The fields of a stage's form, all but the clip and what shows progress; UserError where there is no such stage."""
    return tuple(field for field in fields_of(options_of(stage)) if field.name not in ("clip", "quiet"))


def fields_of(options: type) -> list[Field]:
    """A field for each option of a dataclass that can be given on the command line."""
    hints, fields = get_type_hints(options, include_extras=True), list[Field]()
    about, homes = _docstrings(options), _homes(options)
    for one in dataclasses.fields(options):
        hint, marks = _unwrapped(hints[one.name])
        if tyro.conf.Suppress in marks or one.name.startswith("_"):
            continue
        argument = next((mark for mark in marks if hasattr(mark, "help_behavior_hint")), None)  # of tyro.conf.arg
        name = (argument and argument.name) or one.name
        kind, choices, optional, count = _shape(hint)
        default = None if one.default is dataclasses.MISSING else one.default
        required = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        option = "" if tyro.conf.Positional in marks else f"--{name.replace('_', '-')}"
        fields.append(
            Field(
                name=one.name,
                option=option,
                kind=kind,
                choices=choices,
                default=_plain(default),
                help=_one_line((argument and argument.help) or about.get(one.name, "")),
                group=homes.get(one.name, ""),
                required=required,
                optional=optional,
                count=count,
            )
        )
    return fields


def arguments_of(stage: str, values: Mapping[str, Any], root: Path, clip: Path) -> list[str]:
    """What stands behind a stage's command for the values of its form, in JSON's types; empty ones are left out.

    Paths count from the root, and lie below it. FormError names the fields that will not do, before anything is started.
    """
    fields, errors = form_of(stage), dict[str, str]()
    for name in values.keys() - {field.name for field in fields}:
        errors[""] = f"{stage} has no option {str(name)[:60]!r}"
    placed, options = [], list[str]()
    for field in fields:
        try:
            texts = _texts(field, values.get(field.name), root)
        except UserError as problem:
            errors[field.name] = str(problem)
            continue
        if field.option == "":
            placed += texts
        else:
            options += _as_option(field, texts)
    if errors:
        raise FormError(errors)
    arguments = [*placed, str(clip), *options]
    try:
        parsed(stage, arguments)
    except UserError as problem:
        message = _without_help(str(problem))
        raise FormError({field_of(stage, message): message}) from None
    return arguments


def parsed(stage: str, arguments: Sequence[str]) -> CommonOptions:
    """The options that a stage's command would make of these arguments; UserError where they are wrong, or ask for help."""
    try:
        with _PARSING, contextlib.redirect_stdout(io.StringIO()):
            return parse_options(options_of(stage), list(arguments))
    except SystemExit:
        raise UserError(f"{stage} has nothing to do with these arguments: they ask for help") from None


def field_of(stage: str, message: str, values: Mapping[str, Any] | None = None) -> str:
    """The name of the field that a command's error is about; "" for none.

    It is the first whose option the error names (not in a command that it advises to run), else the one of which it says that
    there is `no NAME '...'` or that it begins with, else one whose value stands in it.
    """
    if stage not in STAGES:
        return ""
    fields, reason = form_of(stage), message.partition("scripts/")[0]
    by_option = {field.option: field.name for field in fields if field.option}
    for option in _OPTION.findall(reason):
        if option in by_option or (option := option.replace("--no-", "--", 1)) in by_option:
            return by_option[option]
    for field in fields:
        if re.search(rf"\bno {field.name} ['\"]|^{field.name.removesuffix('s')} ['\"\d]", reason):
            return field.name
    texts = {field.name: str((values or {}).get(field.name) or "") for field in fields if field.kind in ("text", "path")}
    longest = sorted((name for name, text in texts.items() if len(text) > 2), key=lambda name: -len(texts[name]))
    return next((name for name in longest if texts[name] in reason), "")


def values_of(stage: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a form would hold that gives these arguments: its fields that are not at their defaults; {} for no command."""
    return dict(_values_once(stage, tuple(arguments)))


@lru_cache(maxsize=256)  # pages ask for the same jobs again and again while one runs
def _values_once(stage: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    try:
        options = parsed(stage, arguments)
    except UserError:
        return {}
    values = {field.name: _plain(getattr(options, field.name)) for field in form_of(stage)}
    return {field.name: values[field.name] for field in form_of(stage) if values[field.name] != field.default}


def _shape(hint: Any) -> tuple[Kind, tuple[str, ...], bool, int | None]:
    """Kind, choices, whether None is allowed, and the number of values of a type."""
    optional = False
    number: int | None = 1
    if get_origin(hint) in (Union, UnionType):
        kept = [one for one in get_args(hint) if one is not NoneType]
        optional = len(kept) < len(get_args(hint))
        hint, _ = _unwrapped(kept[0])
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        number = None if inner[-1] is Ellipsis else len(inner)
        hint, _ = _unwrapped(inner[0])
    if get_origin(hint) is Literal:
        return "choice", tuple(map(str, get_args(hint))), optional, number
    if hint is bool and optional:
        return "choice", ("True", "False"), optional, number
    return _KINDS[hint], (), optional, number


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without what is annotated to it, and that."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        return inner, tuple(marks)
    return hint, ()


def _texts(field: Field, value: Any, root: Path) -> list[str]:
    """The words of the command line for a field's value, [] where it is empty or the default; UserError where it won't do."""
    if value is None or value == "" or value == []:
        if field.required:
            raise UserError(f"{field.option or field.name} is needed: {field.help}")
        return []
    if _plain(value) == field.default:
        return []
    if field.count == 1:
        return [_text(field, value, root)]
    if isinstance(value, str):  # typed, one a line
        value = [line.strip() for line in value.splitlines() if line.strip()]
    if not isinstance(value, Sequence):
        raise UserError(f"{field.option} takes a list")
    if field.count is not None and len(value) != field.count:
        raise UserError(f"{field.option} takes {field.count} values, not {len(value)}")
    texts = [_text(field, one, root) for one in value]
    if any(text.startswith("-") and not _is_number(text) for text in texts):
        raise UserError(f"{field.option}: a value cannot begin with '-'")
    return texts


def _text(field: Field, value: Any, root: Path) -> str:
    """One value as a word of the command line; UserError where it is none of the field's kind."""
    label = field.option or field.name
    if field.kind == "switch":
        if not isinstance(value, bool):
            raise UserError(f"{label} is switched on or off")
        return str(value)
    if isinstance(value, bool) and field.kind != "choice":
        raise UserError(f"{label} takes no true or false")
    if field.kind in ("whole", "number") and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)  # a browser knows one kind of number
    if not isinstance(value, str | int | float):
        raise UserError(f"{label} takes a single value")
    text = str(value).strip()
    if len(text) > _MOST_CHARACTERS or "\0" in text:
        raise UserError(f"{label} is too long, or holds what no text does")
    if field.kind == "path":
        return str(given_path(root, text))
    if field.kind == "text":
        refuse_outside(root, text)
    elif field.kind == "choice" and text not in field.choices:
        raise UserError(f"{label} {text[:60]} is no choice: take one of {', '.join(field.choices)}")
    elif field.kind == "whole" and not re.fullmatch(r"-?\d{1,19}", text):
        raise UserError(f"{label} {text[:60]} is no whole number")
    elif field.kind == "number" and not _is_number(text):
        raise UserError(f"{label} {text[:60]} is no number")
    return text


def _as_option(field: Field, texts: list[str]) -> list[str]:
    """An option with its values. One value is joined to it: it may begin with '-' and is never taken for an option."""
    if not texts:
        return []
    if field.kind == "switch":
        return [field.option if texts == ["True"] else f"--no-{field.option[2:]}"]
    return [f"{field.option}={texts[0]}"] if field.count == 1 else [field.option, *texts]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?(\d{1,19}(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?", text, re.IGNORECASE) is not None


def _without_help(message: str) -> str:
    """tyro's refusal without the help that the form shows anyway."""
    return re.split("[:;] see --help$", message)[0]


def _docstrings(options: type) -> dict[str, str]:
    """The text below each field, as it stands in the source of the class and those it inherits from."""
    return {field: text for one in _classes(options) for field, text in _pairs(_body(one))}


def _homes(options: type) -> dict[str, str]:
    """First sentence about the class that brought each field in."""
    sentences: dict[str, str] = {}
    for one in _classes(options):
        sentence = _one_line(one.__doc__ or "").partition(". ")[0]
        for field in vars(one).get("__annotations__", {}):
            sentences.setdefault(field, sentence)
    return sentences


def _classes(options: type) -> Iterable[type]:
    return [one for one in reversed(options.__mro__) if dataclasses.is_dataclass(one)]


def _body(one: type) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
    return tree.body if isinstance(tree, ast.ClassDef) else []


def _pairs(body: list[ast.stmt]) -> Iterable[tuple[str, str]]:
    for field, below in zip(body, body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
        if is_text and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, below.value.value  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, tuple):
        return list(map(_plain, value))
    return str(value) if isinstance(value, Path) else value


def _one_line(text: str) -> str:
    return " ".join(text.split())
