"""The keyframes of an edit: a gallery, one to be made again with another seed, one to be repainted."""

from __future__ import annotations

import filecmp
import functools
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from atlas.clip.at_work import at_work
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import BusyError, UserError
from atlas.storage.atomic import atomic_file
from scripts.jobs.job import Job, jobs_of
from scripts.webapp.forms import values_of
from scripts.webapp.pages.form import PRIVATE, on_click, refused, started
from scripts.webapp.pages.site import Site, edits_of, lines, panel, picture, pictures
from scripts.webapp.paths import name_of
from scripts.webapp.work import Work

Picked = Mapping[str, Mapping[str, str]]
"""By clip: the edit that was chosen, and the layer and the number of a keyframe of it where one was."""
_MOST = 60
_HEIGHT = "min(70vh, 640px)"


def keyframes_choice(site: Site, name: str, picked: Picked, keep: gr.State) -> None:
    """Which edit's keyframes are shown. picked, keep: what was chosen, by clip, and where that is kept."""
    names = with_keyframes(site.clip(name))
    if not names:
        return
    with gr.Row(elem_classes="choices"):
        shown = picked_keyframes(names, picked.get(name))
        choice = gr.Dropdown(names, value=shown, label="Keyframes of", elem_id="keyframes-edit", interactive=True)
    choice.input(lambda edit, picked: {**picked, name: {"edit": edit}}, [choice, keep], keep, **PRIVATE)


def with_keyframes(clip: Clip | None) -> list[str]:
    """Names of the clip's edits that have keyframes."""
    edits = [] if clip is None else edits_of(clip)
    return [edit.name for edit in edits if any(edit.keyframes(layer) for layer in edit.layers)]


def picked_keyframes(names: Sequence[str], picked: Mapping[str, str] | None) -> str:
    """The edit whose keyframes are shown: the one that was chosen as long as it is there, else the last."""
    return picked["edit"] if picked and picked["edit"] in names else names[-1]


def keyframes_shown(site: Site, name: str, picked: Picked, keep: gr.State, notice: gr.Textbox) -> None:
    """The gallery of an edit, and what can be done to one of its keyframes."""
    clip = site.clip(name)
    names = with_keyframes(clip)
    if clip is None or not names:
        return
    edit = Edit.open(clip, picked_keyframes(names, picked.get(name)))
    for layer in edit.layers:
        files = edit.keyframes(layer)
        if not files:
            continue
        shown = dict(list(files.items())[:_MOST])
        gr.HTML(lines([f"{layer}: {len(files)} keyframes"], "lead") + pictures([_card(site, edit, layer, i) for i in shown]))
        with gr.Row(elem_classes="choices"):
            which = gr.Radio(
                [str(index) for index in shown],
                value=picked.get(name, {}).get("keyframe") if picked.get(name, {}).get("layer") == layer else None,
                label=f"A keyframe of {layer}",
                interactive=True,
            )
            again = gr.Button("Make it again", size="md", scale=0, min_width=140, elem_id=f"again-{layer}")
        chosen = {"edit": edit.name, "layer": layer}
        which.input(functools.partial(_with_keyframe, name, chosen), [which, keep], keep, **PRIVATE)
        _again(site, name, edit.name, layer, which, again, notice)
        # It takes another one's place: what is painted on that is no longer wanted.
        again.click(lambda picked, chosen=chosen: {**picked, name: chosen}, [keep], keep, **PRIVATE)


def _with_keyframe(name: str, chosen: Mapping[str, str], index: str, picked: Picked) -> Picked:
    return {**picked, name: {**chosen, "keyframe": index}}


def repainter_shown(site: Site, name: str, picked: Picked) -> str:
    """The painter on the keyframe that was chosen, as HTML; "" where none was, or it has gone."""
    clip, now = site.clip(name), picked.get(name, {})
    names = with_keyframes(clip)
    if clip is None or not names or now.get("edit") != picked_keyframes(names, now or None) or "keyframe" not in now:
        return ""
    if int(now["keyframe"]) not in Edit.open(clip, now["edit"]).keyframes(now["layer"]):
        return ""
    return panel("/paint", _HEIGHT, "Repaint the keyframe", clip=name, **now)


def _card(site: Site, edit: Edit, layer: str, index: int) -> str:
    path = edit.keyframe_path(layer, index)
    made = edit.made_path(layer, index)
    repainted = made.is_file() and not filecmp.cmp(made, path, shallow=False)
    return picture(site.url(path), f"{index}" + (", repainted" if repainted else ""), alt=f"keyframe {index} of {layer}")


def _again(site: Site, name: str, chosen: str, layer: str, which: gr.Radio, again: gr.Button, notice: gr.Textbox) -> None:
    def make(index: str | None) -> str:
        try:
            if index is None:
                raise UserError("choose the keyframe that is to be made again")
            clip = Clip.open(site.work.clip_folder(name))
            job, _ = make_again(site.work, clip, Edit.open(clip, chosen), layer, int(index))
            return started("edit", name, job)
        except (UserError, BusyError) as problem:
            return refused("edit", problem)

    on_click(again, make, [which], notice)


def make_again(work: Work, clip: Clip, edit: Edit, layer: str, index: int) -> tuple[Job, threading.Thread]:
    """Start to make one keyframe again, by the same request with another seed; it takes the old one's place when it is there.

    Returns the job, and the thread that waits for its result. UserError where the edit was not made from here, so that its
    request is not known as a form.
    """
    asked = next((values for job in jobs_of(clip.folder) if (values := _values(job, edit.name, layer))), None)
    if asked is None:
        raise UserError(f"edit {edit.name!r} of {layer} was not made here: run edit.py again with another --seed")
    beside = f"{edit.name[:60]}-again-{secrets.token_hex(3)}"
    changed = {"name": beside, "keyframes": str(index), "seed": secrets.randbelow(1 << 31)}
    # The record may come with the clip from anyone: what it says is held to the same rules as a form.
    job = work.start(name_of(work.root, clip.folder), "edit", asked | changed)
    taking = threading.Thread(target=_take, args=(job, clip, edit, layer, index, beside), daemon=True)
    taking.start()
    return job, taking


def _values(job: Job, name: str, layer: str) -> dict[str, Any] | None:
    """What was filled in for an edit of a layer, where a job was that."""
    values = values_of(job.stage, job.arguments) if job.stage == "edit" else {}
    return values if values.get("name") == name and values.get("layer") == layer else None


def _take(job: Job, clip: Clip, edit: Edit, layer: str, index: int, beside: str) -> None:
    """Once it is made, put the keyframe into the edit, where it counts as repainted, and take away what it was made in."""
    job.wait()
    made: Path = clip.edit_folder(beside) / "keyframes" / layer / f"{index:05d}.png"
    try:
        if job.state().name == "done" and made.is_file():
            with at_work(clip.folder, writes=[edit.folder], wait=True), atomic_file(edit.keyframe_path(layer, index)) as place:
                shutil.copyfile(made, place)
    finally:
        shutil.rmtree(clip.edit_folder(beside), ignore_errors=True)
