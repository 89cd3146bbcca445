"""Tiny models on disk for the tests of editing by a prompt; where diffusers is not installed these skip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.clip.clip import Clip
from edit.editors import EditOptions
from tests.edit import tiny


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the models sd and xl and a ControlNet for each, controlnet-sd and controlnet-xl. Shared: only read it."""
    pytest.importorskip("diffusers", reason="diffusers is not installed: pip install -e .[diffusion]")
    folder = tmp_path_factory.mktemp("models")
    for kind in ("sd", "xl"):
        tiny.save_pipeline(folder / kind, kind)
        tiny.save_controlnet(folder / f"controlnet-{kind}", kind)
    return folder


@pytest.fixture
def prompted(models: Path) -> Callable[..., EditOptions]:
    """Options of an edit by a prompt with the tiny model: `prompted(clip, strategy="random")`."""

    def make(clip: Clip, **changes: Any) -> EditOptions:
        given: dict[str, Any] = {
            "name": "test",
            "layer": "foreground",
            "fit": "truth",
            "editor": "diffusion",
            "keyframes": "0,6,11",
        }
        given |= {"prompt": "a cat", "model": str(models / "sd"), "controlnet": (str(models / "controlnet-sd"),), "steps": 2}
        return EditOptions(clip=clip.folder, quiet=True, offline=True, device="cpu", **(given | changes))

    return make
