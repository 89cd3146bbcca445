"""Site: the root folder as pages see it: which clips, sources, fits and edits there are, and the addresses of their files."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from atlas.clip.clip import Clip, is_name
from atlas.clip.edits import Edit, edit_names
from atlas.errors import UserError
from scripts.webapp.files import url_of
from scripts.webapp.paths import name_of
from scripts.webapp.work import Work

_FILMS = {".mp4", ".mov", ".webm", ".gif", ".mkv", ".avi", ".m4v"}
_PICTURES = {".png", ".jpg", ".jpeg"}
_DEEPEST = 4
_MOST = 300


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
        found = [path for path in self._folders() if (path / "clip.json").is_file() or (path / "jobs").is_dir()]
        return sorted(name_of(self.root, path) for path in found)

    def sources(self) -> list[str]:
        """Names of all films and of all folders of frames that are no part of a clip."""
        found: list[str] = []
        for folder in self._folders():
            if (folder / "clip.json").is_file():
                continue
            names = _names(folder)
            found += [name_of(self.root, folder / name) for name in names if Path(name).suffix.lower() in _FILMS]
            if sum(Path(name).suffix.lower() in _PICTURES for name in names) > 1 and folder != self.root:
                found.append(name_of(self.root, folder))
        return sorted(found)

    def url(self, path: Path) -> str:
        """The address of a file below the root, with its version: a new file has a new address."""
        return url_of(self.root, path) or ""

    def _folders(self) -> Iterator[Path]:
        """The root and the folders below it, without those inside of clips."""
        left, seen = [(self.root, 0)], 0
        while left and seen < _MOST:
            folder, depth = left.pop(0)
            seen += 1
            yield folder
            if depth < _DEEPEST and not (folder / "clip.json").is_file():
                inside = (folder / name for name in _names(folder) if not name.startswith("."))
                left += [(path, depth + 1) for path in inside if path.is_dir() and not path.is_symlink()]


def fits_of(clip: Clip) -> list[str]:
    """Names of the clip's finished fits, `default` first."""
    names = [path.parent.parent.name for path in (clip.folder / "fits").glob("*/maps/maps.json")]
    names = [name for name in names if is_name(name)]  # half-made ones are hidden
    return sorted(names, key=lambda name: (name != "default", name))


def edits_of(clip: Clip) -> list[Edit]:
    """The clip's edits that can be opened."""
    found = []
    for name in edit_names(clip):
        try:
            found.append(Edit.open(clip, name))
        except UserError:
            continue
    return found


def fitting(site: Site, name: str) -> str:
    """What changes where a clip is made anew, or one of its fits comes or goes."""
    clip = site.clip(name)
    return name if clip is None else "|".join([name, clip.identity(), *fits_of(clip)])


def standing(site: Site, name: str) -> str:
    """What changes where a clip is made anew, or one of its fits or edits comes or goes."""
    clip = site.clip(name)
    return name if clip is None else "|".join([fitting(site, name), "edits", *edit_names(clip)])


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


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
