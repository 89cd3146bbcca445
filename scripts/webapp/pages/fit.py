"""The fit tab: a clip into layers, its atlases, and where it is weak."""

from __future__ import annotations

import gradio as gr

from atlas.clip.clip import Clip
from scripts.webapp.clips import saved_json
from scripts.webapp.pages.form import Form
from scripts.webapp.pages.site import Site, empty, film, fits_of, lines, picture, pictures

_MOST = 6
"""Weaknesses that are shown; metrics.json has all."""


def fit_form(site: Site, name: str, notice: gr.Textbox) -> None:
    """What is asked of a fit."""
    if not name:
        gr.HTML(empty("Make a clip, or choose one above."))
        return
    form = Form(site, "fit", (name,))
    form.show("preset", "seconds")
    form.fold(without=["wait"])
    begin = gr.Button("Fit", variant="primary", size="md", elem_id="go-fit")
    form.starts(begin, notice, name)


def fits_shown(site: Site, name: str) -> None:
    """The clip's fits: scores, atlases, preview, weaknesses."""
    clip = site.clip(name)
    fits = [] if clip is None else fits_of(clip)
    if clip is None or not fits:
        gr.HTML(empty("No fit yet. A preview takes about half a minute; edits are made on standard or best."))
        return
    for fit in fits:
        gr.HTML(fit_html(site, clip, fit))


def fit_html(site: Site, clip: Clip, fit: str) -> str:
    """A fit in pictures and words, as HTML."""
    folder = clip.fit_folder(fit)
    measured = saved_json(folder / "metrics.json")
    scores = measured.get("reconstruction", {})
    whole = scores.get("whole", {}).get("psnr")
    by_layer = [f"{layer} {values['psnr']:.1f}" for layer, values in scores.get("layers", {}).items() if values.get("psnr")]
    head = f"Fit {fit}" + (f": {whole:.1f} dB" if whole else "") + (f" ({', '.join(by_layer)})" if by_layer else "")
    atlases = [
        picture(site.url(path), f"Atlas of {layer}", kind="atlas")
        for layer in clip.layers
        if (path := folder / "layers" / layer / "atlas.png").is_file()
    ]
    weaknesses = [one for one in measured.get("weaknesses", []) if isinstance(one, dict)]
    parts = [lines([head], "lead")]
    if weaknesses:
        texts = [f"Weak: {one.get('sentence', '')}; {one.get('advice', '')}" for one in weaknesses[:_MOST]]
        parts.append(lines(texts, "weak"))
    if (preview := folder / "preview.mp4").is_file():
        parts.append(film(site.url(preview), "Source, the layers put together again, opacity"))
    parts.append(pictures(atlases))
    return "".join(parts)
