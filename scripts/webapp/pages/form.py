"""A stage's form in Gradio: its fields from `scripts.webapp.forms`, the usual ones in sight, all others folded away."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import gradio as gr

from atlas.errors import BusyError, UserError
from scripts.jobs.job import Job
from scripts.webapp.forms import Field, FormError, form_of
from scripts.webapp.pages.site import Site

_FEW = 4  # choices that are shown beside each other
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Keywords of an event that is no part of an interface, and shows nothing while it is answered."""
PART: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 1, "concurrency_id": "parts"}
"""Keywords of a part of the page that is made anew: one after the other, for Gradio fails where two of a page are at once."""


@dataclass
class Form:
    """The fields of a stage's form, as components of the page that is being built."""

    site: Site
    stage: str
    key: tuple[str, ...]
    """Tells this form from those of other clips: a component of another key is another component."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """Values that the page decides; these have no field."""
    components: dict[str, Any] = field(default_factory=dict)

    def show(self, *names: str) -> None:
        """Show fields in sight, in this order."""
        for name in names:
            self._add(next(one for one in form_of(self.stage) if one.name == name))

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

    def _add(self, one: Field) -> None:
        value, label = one.default, one.name.replace("_", " ").capitalize()
        about: dict[str, Any] = {"label": label, "info": one.help, "min_width": 220, **self.identity(one.name)}
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
        clip: str | gr.Textbox,
        beside: Sequence[Any] = (),
        complete: Callable[..., Mapping[str, Any]] = lambda values, *others: values,
    ) -> None:
        """Let a button start the stage's command for the form's values.

        notice: where it says what came of it, for the page's script: the job, or what is wrong, by field. clip: its name, or
        where that is typed. beside: more components, whose values `complete` makes options of.
        """
        names = list(self.components)
        asked = [clip] if isinstance(clip, gr.Textbox) else []

        def begin(*given: Any) -> str:
            values = dict(zip(names, given, strict=False))
            name = str(given[-1]).strip() if asked else str(clip)
            try:
                values = dict(complete(values, *given[len(names) : len(names) + len(beside)])) | self.fixed
                return started(self.stage, name, self.site.work.start(name, self.stage, values))
            except (UserError, BusyError) as problem:
                return refused(self.stage, problem)

        on_click(button, begin, [*self.components.values(), *beside, *asked], notice)


def on_click(button: gr.Button, begin: Callable[..., str], inputs: Sequence[Any], notice: gr.Textbox) -> None:
    """Let a button start a job of these inputs; the page's script is told what came of it."""
    event = button.click(begin, inputs, notice, **PRIVATE)
    event.then(None, notice, None, js="(notice) => window.atlas.notice(notice)", **PRIVATE)


def started(stage: str, name: str, job: Job) -> str:
    """What the page's script is told of a job that was started for a clip."""
    return json.dumps({"stage": stage, "clip": name, "job": job.id})


def refused(stage: str, problem: UserError | BusyError) -> str:
    """What the page's script is told of a job that could not be started: what is wrong, by field."""
    errors = problem.errors if isinstance(problem, FormError) else {"": str(problem)}
    return json.dumps({"stage": stage, "errors": errors})
