"""Site: the root folder as pages see it: which clips, sources, fits and edits there are, and the addresses of their files."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit, edit_names
from atlas.errors import UserError
from atlas.maps.maps import fit_names
from atlas.video.source import IMAGE_SUFFIXES
from scripts.webapp.clips import clip_folders, folders_below
from scripts.webapp.files import url_of
from scripts.webapp.paths import name_of
from scripts.webapp.uploads import VIDEO_SUFFIXES
from scripts.webapp.work import Work


@dataclass(frozen=True)
class Site:
    """Everything below a root folder."""

    work: Work
    """What starts stages below it."""

    @property
    def root(self) -> Path:
        """The folder that all lies below."""
        return self.work.root

    def clip(self, name: str) -> Clip | None:
        """The prepared clip of this name; None where there is none that can be opened."""
        if not name:
            return None
        try:
            return Clip.open(self.work.clip_folder(name))
        except UserError:
            return None

    def clips(self) -> list[str]:
        """Names of all clips, and of folders that are to become one."""
        return [name_of(self.root, folder) for folder in clip_folders(self.root)]

    def sources(self) -> list[str]:
        """Names of all films and of all folders of frames that are no part of a clip."""
        paths: list[Path] = []
        for folder, files, is_clip in folders_below(self.root):
            if is_clip:
                continue
            paths += [folder / name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES]
            if sum(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in files) > 1 and folder != self.root:
                paths.append(folder)
        return sorted(name_of(self.root, path) for path in paths)

    def url(self, path: Path) -> str:
        """The address of a file below the root, with its version: a new file has a new address."""
        return url_of(self.root, path) or ""


def fits_of(clip: Clip) -> list[str]:
    """Names of the clip's finished fits, `default` first."""
    return sorted(fit_names(clip), key=lambda name: name != "default")


def edits_of(clip: Clip) -> list[Edit]:
    """The clip's edits that can be opened."""
    edits = []
    for name in edit_names(clip):
        with contextlib.suppress(UserError):
            edits.append(Edit.open(clip, name))
    return edits


def fitting(site: Site, name: str) -> str:
    """What changes where a clip is made anew, or one of its fits comes or goes."""
    clip = site.clip(name)
    return name if clip is None else "|".join([name, clip.identity(), *fits_of(clip)])


def standing(site: Site, name: str) -> str:
    """What changes where a clip is made anew, or one of its fits or edits comes or goes."""
    clip = site.clip(name)
    return name if clip is None else "|".join([fitting(site, name), "edits", *edit_names(clip)])


def empty(advice: str) -> str:
    """What stands where there is nothing to show yet, as HTML."""
    return f'<div class="empty">{html.escape(advice)}</div>'


def picture(url: str, caption: str = "", alt: str = "", kind: str = "") -> str:
    """A picture with a line below it, as HTML."""
    below_it = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    image = f'<img src="{html.escape(url)}" alt="{html.escape(alt or caption)}" loading="lazy">'
    return f'<figure class="shown {kind}"><a href="{html.escape(url)}" target="_blank">{image}</a>{below_it}</figure>'


def pictures(figures: Sequence[str], kind: str = "strip") -> str:
    """Several pictures side by side."""
    return f'<div class="{kind}">{"".join(figures)}</div>'


def film(url: str, caption: str = "") -> str:
    """A film with its controls, as HTML."""
    below_it = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    video = f'<video src="{html.escape(url)}" controls loop muted playsinline preload="metadata"></video>'
    return f'<figure class="shown">{video}{below_it}</figure>'


def lines(texts: Sequence[str], kind: str = "quiet") -> str:
    """Lines of text, as HTML."""
    return "".join(f'<p class="{kind}">{html.escape(text)}</p>' for text in texts)


def panel(page: str, height: str, title: str, **asked: str | int | float) -> str:
    """One of our own pages in a frame, as HTML. height: of CSS."""
    address = f"{page}?{urlencode(asked)}"
    return (
        f'<iframe class="panel" src="{html.escape(address)}" title="{html.escape(title)}" '
        f'style="height: {html.escape(height)}" allow="clipboard-read"></iframe>'
    )
