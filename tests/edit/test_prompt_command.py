"""Editing by a prompt from the command line: every option as documented, and what is found out before the long stages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.sample.files import write_sample
from atlas.sample.scene import Sample
from atlas.storage.images import write_image
from atlas.system.command import parse_options
from atlas.video.reading import probe
from edit.editors import EditOptions
from edit.stage import edit
from scripts.pipeline.run import RunOptions, run
from tests.edit import tiny

ROOT = Path(__file__).resolve().parents[2]


def test_all_options(fresh_clip: Clip, models: Path, tmp_path: Path) -> None:
    lora = tiny.save_lora(tmp_path / "style.safetensors")
    arguments = [str(fresh_clip.folder), "--name", "gold", "--layer", "foreground", "--fit", "truth", "--keyframes", "0,6"]
    arguments += [
        "--editor",
        "diffusion",
        "--prompt",
        "a cat",
        "--negative",
        "a dog",
        "--strategy",
        "propagate",
        "--strength",
        "0.8",
    ]
    arguments += [
        "--steps",
        "2",
        "--guidance",
        "9",
        "--model",
        str(models / "sd"),
        "--controlnet",
        str(models / "controlnet-sd"),
    ]
    arguments += ["--control", "canny", "--canny", "50", "150", "--control-scale", "0.7", "--lora", f"{lora}:0.5"]
    arguments += ["--on", "keyframes", "--scheduler", "dpm++", "--dtype", "float32", "--resolution", "64", "--hold", "0.2"]
    arguments += ["--vae-slicing", "--vae-tiling", "--offline", "--offload", "none", "--prompt-at", "0:a bird", "--quiet"]
    result = edit(parse_options(EditOptions, arguments))
    assert result.keyframes == [0, 6] and len(result.edit.keyframes("foreground")) == 2
    saved = result.edit.layers["foreground"]["diffusion"]
    assert (
        saved["prompt"] == "a cat" and saved["strategy"] == "propagate" and saved["hold"] == 0.2 and saved["on"] == "keyframes"
    )


def test_all_stages_from_one_command(sample: Sample, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(sample, tmp_path / "footage")
    clip = tmp_path / "clip"
    arguments = [str(tmp_path / "footage" / "frames"), str(clip), "--masks", str(tmp_path / "footage" / "masks"), "--quiet"]
    arguments += ["--preset", "preview", "--method", "mean", "--editor", "diffusion", "--prompt", "a cat", "--steps", "2"]
    weights = ["--offline", "--controlnet", str(models / "controlnet-sd")]
    for model, said in ((tmp_path, "is no model"), ("nobody/nothing", "hf download nobody/nothing")):
        with pytest.raises(UserError, match=said):
            run(parse_options(RunOptions, [*arguments, *weights, "--model", str(model)]))
        assert not clip.exists()
    wide = str(tiny.save_lora(tmp_path / "wide.safetensors", width=12))
    usable = [*weights, "--model", str(models / "sd")]
    one, own = tmp_path / "one", ["--control", "images", "--control-images"]
    write_image(one / "00003.png", np.zeros((64, 96, 3), np.uint8))
    for more, said in (
        (["--prompt", "a" * 1300], "the prompt is 18 times as long as is read at once, at most 16"),
        (["--prompt-at", f"3:{'a' * 1201}"], "the prompt is 17 times as long"),
        (["--negative", "b" * 1201], "the negative prompt is 17 times as long"),
        (["--clip-skip", "3"], "--clip-skip 3 is more than the text encoder's 2 layers"),
        (["--controlnet", str(models / "controlnet-xl")], "is of another family"),
        (["--lora", wide], "wide.safetensors does not fit the model"),
        (["--keep", str(tmp_path / "keep.png")], "keep.png is missing"),
    ):
        with pytest.raises(UserError, match=said):
            run(parse_options(RunOptions, [*arguments, *usable, *more]))
        assert not clip.exists()
    for more, said in (
        ([*own, str(one), "--keyframes", "3,4"], "has no image of keyframe 4"),
        ([*own, str(one), "--on", "atlas"], "one is no file: --on atlas takes one image"),
        (["--keyframes", "3,4", "--prompt-at", "5:a dog"], "--prompt-at 5 is no keyframe"),
        (["--prompt-at", "50:a dog"], "keyframe 50 is past the end"),
    ):
        with pytest.raises(UserError, match=said):
            run(parse_options(RunOptions, [*arguments, *usable, *more]))
        assert not (clip / "fits").exists()
    shutil.rmtree(clip)
    with pytest.raises(UserError, match="the prompt is empty"):
        run(parse_options(RunOptions, [*arguments, "--prompt", ""]))
    arguments += [*weights, "--model", str(models / "sd"), "--keyframes", "auto:2"]
    run(parse_options(RunOptions, arguments))
    assert probe(clip / "edits" / "diffusion" / "video.mp4").frames == 12
    capsys.readouterr()
    run(parse_options(RunOptions, arguments))
    assert capsys.readouterr().out.count("up to date") == 5


def test_all_weights_are_looked_for_before_any_is_loaded(
    sample_clip: Clip, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad ControlNet is told although the model has its own fault, and before the model is loaded or fetched."""
    arguments = [str(sample_clip.folder), "--name", "x", "--layer", "foreground", "--fit", "truth", "--editor", "diffusion"]
    arguments += ["--prompt", "a cat", "--steps", "1", "--keyframes", "0", "--quiet"]
    with pytest.raises(UserError, match=r"empty is no model .*; no/such/net is no folder, no file and no hub id") as problem:
        (tmp_path / "empty").mkdir()
        edit(parse_options(EditOptions, [*arguments, "--model", str(tmp_path / "empty"), "--controlnet", "no/such/net"]))
    assert "\n" not in str(problem.value)

    def fetch(*_: object, **__: object) -> None:
        pytest.fail("something is fetched")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(UserError, match=r"model is no ControlNet \(it has no config.json\)"):
        (tmp_path / "model").mkdir()
        edit(parse_options(EditOptions, [*arguments, "--model", "a/b", "--controlnet", str(tmp_path / "model")]))
    shutil.copytree(models / "sd", tmp_path / "sd")
    (tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not to be loaded")
    with pytest.raises(UserError, match="is of another family than the model"):
        other = str(models / "controlnet-xl")
        edit(parse_options(EditOptions, [*arguments, "--model", str(tmp_path / "sd"), "--controlnet", other]))


def test_the_lines_of_the_page_on_prompts(fresh_clip: Clip, models: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8"), re.DOTALL)
    weights = f"model={str(models / 'sd')!r}, controlnet=({str(models / 'controlnet-sd')!r},), steps=1, offline=True"
    here = text.replace('"clips/car"', repr(str(fresh_clip.folder)))
    exec(here.replace("prompt=", f"fit='truth', keyframes='6', {weights}, prompt="), {})
    assert list(Edit.open(fresh_clip, "gold").keyframes("foreground")) == [6]
    assert len([line for line in text.splitlines() if line]) <= 5


def test_help_loads_no_model_library() -> None:
    code = (
        "import runpy, sys\nsys.argv = ['edit.py', '--help']\n"
        "try:\n    runpy.run_path('scripts/edit.py', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_other_editors_load_no_model_library(fresh_clip: Clip) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom edit.stage import edit\nfrom edit.editors import EditOptions\n"
        f"edit(EditOptions(clip=Path({str(fresh_clip.folder)!r}), name='x', layer='foreground', fit='truth', editor='filter',"
        " filter='grey', keyframes='0', quiet=True))\n"
        "print([name for name in ('diffusers', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
