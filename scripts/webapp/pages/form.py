"""A stage's form in Gradio: its fields from `scripts.webapp.forms`, the usual ones in sight, all others folded away."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import gradio as gr

from atlas.errors import BusyError, UserError
from scripts.webapp.forms import Field, FormError, form_of
from scripts.webapp.pages.site import Site

_FEW = 4  # choices that are shown beside each other
_PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass
class Form:
    """The fields of a stage's form, as components of the page that is being built."""

    site: Site
    stage: str
    key: tuple[str, ...]
    """Tells this form from those of other clips: a component of another key is another component."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Values that the page decides; these have no field."""
    values: dict[str, Any] = field(default_factory=dict)
    """What fields begin with, other than the defaults."""
    components: dict[str, Any] = field(default_factory=dict)

    def show(self, *names: str, **labels: str) -> None:
        """Show fields in sight, in this order."""
        for name in names:
            self._add(next(one for one in form_of(self.stage) if one.name == name), labels.get(name))

    def fold(self, title: str = "All options", without: Sequence[str] = ()) -> None:
        """Show all other fields folded away, under what they are for."""
        left = [one for one in form_of(self.stage) if one.name not in {*self.components, *self.fixed, *without}]
        with gr.Accordion(title, open=False, elem_classes="folded"):
            for group, fields in groupby(left, key=lambda one: one.group):
                if group:
                    gr.HTML(f'<p class="group">{group.rstrip(".")}</p>')
                with gr.Row(elem_classes="fields"):
                    for one in fields:
                        self._add(one)

    def place(self, name: str, component: Any) -> None:
        """Take another component for a field."""
        self.components[name] = component

    def identity(self, name: str) -> dict[str, Any]:
        """Keywords that make a component the one of a field: found by the page's script, kept as long as the clip is chosen."""
        return {"elem_id": f"{self.stage}-{name}", "key": (*self.key, self.stage, name), "interactive": True}

    def _add(self, one: Field, label: str | None = None) -> None:
        value = self.values.get(one.name, one.default)
        named = label or one.name.replace("_", " ").capitalize()
        about: dict[str, Any] = {"label": named, "info": one.help, "min_width": 220, **self.identity(one.name)}
        if one.count != 1:
            text = "\n".join(map(str, value)) if isinstance(value, list) else value or ""
            self.components[one.name] = gr.Textbox(text, lines=2, placeholder="one a line", **about)
        elif one.kind == "switch":
            self.components[one.name] = gr.Checkbox(bool(value), **about)
        elif one.kind == "choice":
            choices = [*([("as the command decides", "")] if one.optional else []), *((text, text) for text in one.choices)]
            kind = gr.Radio if len(choices) <= _FEW and not one.optional else gr.Dropdown
            self.components[one.name] = kind(choices, value="" if value is None else value, **about)
        elif one.kind in ("whole", "number"):
            self.components[one.name] = gr.Number(value, precision=0 if one.kind == "whole" else None, **about)
        else:
            self.components[one.name] = gr.Textbox("" if value is None else str(value), lines=1, **about)

    def starts(
        self,
        button: gr.Button,
        notice: gr.Textbox,
        clip: Callable[[Mapping[str, Any]], str],
        beside: Sequence[Any] = (),
        complete: Callable[..., Mapping[str, Any]] = lambda values, *others: values,
    ) -> None:
        """Let a button start the stage's command for the form's values.

        notice: where it says what came of it, for the page's script: the job, or what is wrong, by field. clip: the clip's name
        from the values. beside: more components, whose values `complete` makes options of.
        """
        names = list(self.components)

        def begin(*given: Any) -> str:
            values = dict(zip(names, given, strict=False))
            try:
                values = dict(complete(values, *given[len(names) :])) | self.fixed
                return started(self.site, self.stage, clip(values), values)
            except FormError as problem:
                return told(self.stage, problem.errors)
            except (UserError, BusyError) as problem:
                return told(self.stage, {"": str(problem)})

        event = button.click(begin, [*self.components.values(), *beside], notice, **_PRIVATE)
        event.then(None, notice, None, js="(notice) => window.atlas.notice(notice)", **_PRIVATE)


def started(site: Site, stage: str, name: str, values: Mapping[str, Any]) -> str:
    """Start a stage's command for the values of its form; what the page's script is told of it."""
    job = site.work.start(name, stage, {key: value for key, value in values.items() if not key.startswith("_")})
    return json.dumps({"stage": stage, "clip": name, "job": job.id})


def told(stage: str, errors: Mapping[str, str]) -> str:
    """What the page's script is told of what is wrong, by field."""
    return json.dumps({"stage": stage, "errors": dict(errors)})
