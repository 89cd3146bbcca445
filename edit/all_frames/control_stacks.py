"""Control images of all frames, made once before sampling and kept on the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atlas.storage.stack import FrameStack
from atlas.system.progress import Progress
from edit.all_frames.scene import Scene
from edit.controls.steady import steadied
from edit.diffusion.sources import Sources
from edit.request.prompting import STEADIED


@contextlib.contextmanager
def control_stacks(scene: Scene, sources: Sources, folder: Path, *, quiet: bool) -> Iterator[list[FrameStack]]:
    """Make the control images of every frame, a stack for each --control, gone again when the block ends.

    With --steady-controls they agree through the atlas; UserError where there is no fit then.
    """
    kinds = sources.options.control
    with contextlib.ExitStack() as opened:
        stacks = [
            opened.enter_context(FrameStack(folder / f"control-{number}.bin", scene.shape)) for number in range(len(kinds))
        ]
        for index in Progress(range(scene.frames), desc="controls", unit="frame", quiet=quiet, leave=False):
            images = sources.controls(scene.picture(index), scene.crops[index], index)
            for stack, image in zip(stacks, images, strict=True):
                stack[index] = image.astype(np.float32) / 255
        for number, kind in enumerate(kinds):
            if sources.options.steady_controls and kind in STEADIED:
                steady = opened.enter_context(FrameStack(folder / f"steady-{number}.bin", scene.shape))
                steadied(stacks[number], scene.maps, kind, steady, source=scene.source, device=sources.device, quiet=quiet)
                stacks[number] = steady
        yield stacks
