"""Learned metrics (CLIP, DINOv2, LPIPS): load the networks that can be had, say why others cannot, and feed them frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.metrics import definitions as metrics
from atlas.metrics.embeddings import CLIP_MODEL, DINO_MODEL, Embedder, Family, check_installed
from atlas.metrics.lpips import SMALLEST, Lpips
from atlas.options.evaluate import LearnedOptions
from atlas.system.device import choose_device
from atlas.weights.hub import located

BATCH = 16
"""Pictures that go through a network at once."""
_CLIP, _DINO, _LPIPS = ("clip_text", "clip_frame"), ("object_consistency",), ("lpips", "lpips_from_source")
# Of DiffSynth's tables, what is not measured here, and why.
_NEVER = {
    "fid": "compares the statistics of thousands of pictures with a set of real ones; one clip is too few",
    "pose_mse": "needs a pose estimator, and people whose pose is prescribed",
    "aesthetic_score": "its predictor is published in formats that can hold programs, which are not read",
}
Made = TypeVar("Made")


@dataclass
class Learned:
    """The networks that could be loaded; of each metric that cannot be had, the reason."""

    clip: Embedder | None = None
    dino: Embedder | None = None
    lpips: Lpips | None = None
    absent: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    """What was given for every edit; None: each edit's own."""
    names: dict[str, str] = field(default_factory=dict)
    """Of each network, the model as it was named."""
    of_source: dict[tuple[Path, str], list[np.ndarray]] = field(default_factory=dict)
    """Vectors of a clip's own frames, by its folder and the network."""

    @classmethod
    def open(cls, options: LearnedOptions) -> Learned:
        """Load the networks that are there. UserError where one is named that cannot be used; else a reason."""
        options.check_weights()
        opened = cls(prompt=options.prompt)
        if options.weights == "none":
            opened.absent = {name: "left out by --weights none" for name in (*_CLIP, *_DINO, *_LPIPS)} | _NEVER
            return opened
        clip, dino, file = options.clip_model, options.dino_model, options.lpips_weights
        opened.clip = opened._try(_CLIP, clip, lambda: _embedder(clip or CLIP_MODEL, "CLIP model", "--clip-model", options))
        opened.dino = opened._try(_DINO, dino, lambda: _embedder(dino or DINO_MODEL, "DINOv2 model", "--dino-model", options))
        if file is None:
            reason = "needs its weights in a file: --lpips-weights names it, and --help says how it is made"
            opened.absent |= {name: reason for name in _LPIPS}
        else:
            opened.lpips = Lpips(file, choose_device(options.device))
        opened.absent |= _NEVER
        had: dict[str, tuple[object, str]] = {
            "clip": (opened.clip, clip or CLIP_MODEL),
            "dino": (opened.dino, dino or DINO_MODEL),
        }
        had["lpips"] = (opened.lpips, "AlexNet 0.1")
        opened.names = {key: name for key, (network, name) in had.items() if network is not None}
        if opened.clip and options.prompt is not None:
            opened.clip.embed_text(options.prompt)  # too long is said now
        return opened

    def series(self, edit: Edit) -> LearnedSeries:
        """Begin the series of one edit, to be fed its frames."""
        return LearnedSeries(self, edit)

    def _try(self, measures: tuple[str, ...], named: str | None, load: Callable[[], Made]) -> Made | None:
        try:
            return load()
        except UserError as problem:
            if named is not None:
                raise
            self.absent |= {name: str(problem) for name in measures}
            return None


def _embedder(name: str, family: Family, option: str, options: LearnedOptions) -> Embedder:
    why = f"nothing is fetched without --download ({option} names a folder)"
    check_installed()  # which takes the hub's package along
    folder = located(name, family, offline=not options.download, why=why)
    return Embedder(folder, family, choose_device(options.device))


def prompt_of(edit: Edit) -> str | None:
    """Join the prompts of the edit's layers into one text about the whole frame; None where no layer has one."""
    return ", ".join(prompt for layer in edit.layers if (prompt := edit.request(layer).prompt)) or None


class LearnedSeries:
    """Embeddings and LPIPS distances of an edit's frames, fed in order beside the source's; `values` are their means.

    Memory holds a batch of frames, and a vector for each. The source's are kept for the next edit of the same clip.
    """

    def __init__(self, learned: Learned, edit: Edit) -> None:
        self.learned, self.absent = learned, dict(learned.absent)
        networks = {"clip": learned.clip, "dino": learned.dino}
        self._networks = {key: network for key, network in networks.items() if network is not None}
        self._clip_folder = edit.folder.parent.parent
        self._waiting: dict[str, list[tuple[str, Tensor]]] = {key: [] for key in self._networks}
        self._vectors: dict[str, dict[str, list[np.ndarray]]] = {
            key: {"edit": [], "source": list(learned.of_source.get((self._clip_folder, key), []))} for key in self._networks
        }
        self._known = {key for key in self._networks if self._vectors[key]["source"]}
        self._lpips: dict[str, list[float]] = {"edit": [], "source": [], "from_source": []}
        self._text: np.ndarray | None = None
        self.prompt: str | None = None
        if learned.clip is not None:
            self._read_prompt(learned.clip, learned.prompt or prompt_of(edit))

    def add(self, source: np.ndarray, result: np.ndarray) -> None:
        """Add the next frame, (H, W, 3) uint8, before and after the edit."""
        for key, network in self._networks.items():
            frames = {"edit": result} if key in self._known else {"edit": result, "source": source}
            self._waiting[key] += [(side, network.prepare(frame)) for side, frame in frames.items()]
            if len(self._waiting[key]) >= BATCH:
                self._embed(key)
        if self.learned.lpips is not None:
            self._lpips["from_source"].append(self.learned.lpips(result, source))

    def add_pair(self, side: str, image: np.ndarray, following: np.ndarray, flow: np.ndarray, valid: np.ndarray) -> None:
        """Add neighbouring frames of one side ("edit" or "source") with the source's flow, as `metrics.warp_error` has them."""
        if self.learned.lpips is not None:
            carried = metrics.warped_following(image, following, flow, valid)
            self._lpips[side].append(self.learned.lpips(image, carried))

    def values(self) -> dict[str, Any]:
        """Average each metric that could be had for edit and source, and name the networks; `absent` has the others."""
        for key in self._networks:
            self._embed(key)
            self.learned.of_source[self._clip_folder, key] = self._vectors[key]["source"]
        means: dict[str, Any] = {}
        if (text := self._text) is not None:
            means["clip_text"] = self._means("clip", lambda vectors: [metrics.clip_text(vector, text) for vector in vectors])
        for key, name in (("clip", "clip_frame"), ("dino", "object_consistency")):
            if key in self._networks:
                means[name] = self._means(key, lambda vectors: list(map(metrics.cosine, vectors, vectors[1:])))
        if self.learned.lpips is not None:
            edit, source, apart = (metrics.average(values) for values in self._lpips.values())
            means["lpips"] = {"edit": edit, "source": source, "ratio": metrics.ratio(edit, source)}
            means["lpips_from_source"] = apart
            if math.isnan(apart):
                self.absent |= {name: f"needs frames of {SMALLEST} pixels a side or more" for name in _LPIPS}
        if self.learned.names:
            means["models"] = self.learned.names | ({"prompt": self.prompt} if self.prompt else {})
        return means

    def _read_prompt(self, clip: Embedder, prompt: str | None) -> None:
        if prompt is None:
            self.absent["clip_text"] = "the edit has no prompt: give one with --prompt"
            return
        try:
            self._text, self.prompt = clip.embed_text(prompt), prompt
        except UserError as problem:
            self.absent["clip_text"] = str(problem)

    def _embed(self, key: str) -> None:
        """Embed the frames that wait, as one batch."""
        waiting, self._waiting[key] = self._waiting[key], []
        if waiting:
            vectors = self._networks[key].embed([prepared for _, prepared in waiting])
            for (side, _), vector in zip(waiting, vectors, strict=True):
                self._vectors[key][side].append(vector)

    def _means(self, key: str, measure: Callable[[list[np.ndarray]], list[float]]) -> dict[str, float]:
        edit, source = (metrics.average(measure(self._vectors[key][side])) for side in ("edit", "source"))
        return {"edit": edit, "source": source, "difference": edit - source}
