"""What is said, or made again, where memory does not suffice or half precision overflows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from edit.diffusion.weights import load
from edit.editors import EditOptions
from edit.record import EditResult
from edit.stage import edit

Make = Callable[..., EditOptions]


def keyframe(result: EditResult, index: int) -> np.ndarray:
    return read_image(result.edit.keyframe_path(result.layer, index))


def test_half_precision_that_overflows_is_made_again(fresh_clip: Clip, prompted: Make, models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(models / "sd", tmp_path / "loud")
    file = tmp_path / "loud" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_in.weight"] *= 1e5  # more than float16 holds; in float32 the norm that follows takes it back
    save_file(tensors, file)
    result = edit(prompted(fresh_clip, model=str(tmp_path / "loud"), dtype="float16", keyframes="6"))
    assert "overflowed in half precision and was made again in float32" in str(result)
    assert keyframe(result, 6)[..., :3].std() > 5
    tensors["decoder.conv_in.weight"][:] = float("nan")
    save_file(tensors, file)
    load.cache_clear()
    with pytest.raises(UserError, match="gives no numbers for keyframe 6"):
        edit(prompted(fresh_clip, model=str(tmp_path / "loud"), dtype="float16", keyframes="6", name="n"))


def test_out_of_memory_says_what_lowers_it(fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from edit.diffusion.model import StableDiffusion

    def full(self: StableDiffusion, latents: torch.Tensor) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(StableDiffusion, "decode", full)
    with pytest.raises(
        UserError, match="out of main memory while making keyframe 6 at 128x64: try --vae-tiling, a smaller --reso"
    ):
        edit(prompted(fresh_clip, keyframes="6"))


def test_other_errors_about_memory_are_no_lack_of_it(fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from edit.diffusion.model import StableDiffusion

    said = ["CUDA error: an illegal memory access was encountered", "DefaultCPUAllocator: can't allocate memory: you tried"]

    def fails(self: StableDiffusion, latents: torch.Tensor) -> None:
        raise RuntimeError(said[0])

    monkeypatch.setattr(StableDiffusion, "decode", fails)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        edit(prompted(fresh_clip, keyframes="6"))
    del said[0]
    with pytest.raises(UserError, match="out of main memory"):
        edit(prompted(fresh_clip, keyframes="6"))
