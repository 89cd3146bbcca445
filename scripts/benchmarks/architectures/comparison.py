"""Architectures of the mapping and kinds of atlas, measured on one clip: what the presets' defaults rest on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.evaluation.stage import finite
from atlas.fitting import presets
from atlas.storage.stamps import write_json
from atlas.system.command import CommonOptions
from scripts.benchmarks.architectures import mappings, textures


@dataclass(kw_only=True)
class CompareOptions(CommonOptions):
    """Compare architectures of the mapping from one registered start, and kinds of atlas on its maps."""

    clip: tyro.conf.Positional[Path]
    """Folder of a prepared clip. What is made stands in its folder compare/ and is used again the next time."""
    seconds: float = 60.0
    """Seconds of gradient steps for each mapping, in processor time."""
    texture_seconds: float = 60.0
    """Seconds for each kind of atlas, in processor time; 0 leaves the atlases out."""
    architectures: str = "start,network,grids,hash"
    """Mappings to compare, separated by commas."""
    truth: Path | None = None
    """Folder truth/ of a sample clip, to measure mappings against it."""
    seed: int = 0
    """Seed of networks and samples."""
    json: Path | None = None
    """File to write the figures to as well, as JSON."""


def compare(options: CompareOptions) -> str:
    """Measure and return the tables. UserError for a clip or architecture that is not there."""
    clip = Clip.open(options.clip)
    known = list(mappings.architectures(presets.preset("standard", 0)))
    names = [name for name in options.architectures.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"there is no architecture {unknown[0]!r}: choose from {', '.join(known)}")
    if options.seconds <= 0 or options.texture_seconds < 0:
        raise UserError("--seconds must be positive, --texture-seconds 0 or more")
    folder = clip.folder / "compare"
    run = mappings.registered_start(clip, folder / "start", options.seed, quiet=options.quiet)
    results: dict[str, Any] = {"clip": clip.name, "seconds": options.seconds, "texture_seconds": options.texture_seconds}
    tables = []
    if names:
        figures = mappings.compare_mappings(
            run, options.seconds, folder / "mappings", options.truth, names, quiet=options.quiet
        )
        results["mappings"] = figures
        tables.append(mappings.table(figures))
    if options.texture_seconds:
        atlases = textures.compare_textures(
            run, options.texture_seconds, folder / "textures", options.seed, quiet=options.quiet
        )
        results["atlases"] = atlases
        tables.append(textures.table(atlases))
    if options.json:
        write_json(options.json, finite(results))
    return "\n\n".join(tables)
