"""Every frame by a prompt: recipes through the edit stage with tiny models, against diffusers' own pipelines and each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from atlas.clip.clip import Clip
from atlas.errors import UserError
from atlas.storage.images import read_image
from edit.all_frames import run, sampler
from edit.diffusion.conditions import canny
from edit.diffusion.crop import resized
from edit.editors import EditOptions
from edit.recipes.presets import PRESETS
from edit.sampling.state import LoopState
from edit.stage import edit
from tests.edit.diffusion.test_denoise import loaded

Make = Callable[..., EditOptions]
SIZE = (64, 128)  # of the sample's 96x64 frames as the model sees them: sides are multiples of 64


def on_frames(prompted: Make, clip: Clip, recipe: str, **changes: Any) -> EditOptions:
    given = {"layer": "all", "on": "frames", "recipe": recipe, "keyframes": None, "name": "t", "steps": 2, "batch": 1}
    return prompted(clip, **(given | changes))


def crops(clip: Clip, name: str = "t", layer: str = "all") -> list[np.ndarray]:
    """The frames as the model made them, in the order of the clip."""
    (folder,) = [path for path in (clip.folder / "edits" / name / "cache" / layer).iterdir() if path.is_dir()]
    return [read_image(folder / f"{index:05d}.png")[..., :3] for index in range(clip.frames)]


@pytest.mark.parametrize("kind", ["sd", "xl"])
@pytest.mark.parametrize("recipe", ["fixed", "img2img"])
def test_the_first_frame_equals_the_pipeline_of_diffusers(
    kind: str, recipe: str, fresh_clip: Clip, prompted: Make, models: Path
) -> None:
    from diffusers import StableDiffusionControlNetImg2ImgPipeline, StableDiffusionXLControlNetImg2ImgPipeline

    steps = 6
    options = on_frames(
        prompted,
        fresh_clip,
        recipe,
        model=str(models / kind),
        controlnet=(str(models / f"controlnet-{kind}"),),
        steps=steps,
        seed=4,
        guidance=5.0,
        negative="a dog",
        control_scale=(0.4,),
    )
    edit(options)
    made = crops(fresh_clip)[0]
    model, source = loaded(models, kind), resized(fresh_clip.frame(0), *SIZE)
    control = Image.fromarray(canny(source))
    shared = {
        "negative_prompt": "a dog",
        "num_inference_steps": steps,
        "guidance_scale": 5.0,
        "controlnet_conditioning_scale": 0.4,
        "generator": torch.Generator().manual_seed(4),
        "output_type": "np",
    }
    if recipe == "img2img":
        pipelines = {"sd": StableDiffusionControlNetImg2ImgPipeline, "xl": StableDiffusionXLControlNetImg2ImgPipeline}
        pipeline = pipelines[kind](**model.pipeline.components)
        image = torch.from_numpy(source).permute(2, 0, 1)[None].float() / 255
        theirs = pipeline("a cat", image=image, control_image=control, strength=0.45, **shared).images[0]
    else:
        theirs = model.pipeline("a cat", image=control, **shared).images[0]
    assert np.array_equal(made, (theirs * 255 + 0.5).astype(np.uint8))


@pytest.mark.parametrize(("recipe", "layer"), [(name, ("foreground", "all")[i % 2]) for i, name in enumerate(PRESETS)])
def test_every_preset_edits_all_frames_and_the_same_seed_gives_the_same_bytes(
    recipe: str, layer: str, fresh_clip: Clip, prompted: Make
) -> None:
    quick = {"tune_steps": 3} if recipe in ("clip-tuning", "consistency-tuning") else {}
    options = on_frames(prompted, fresh_clip, recipe, layer=layer, **quick)
    result = edit(options)
    assert result.keyframes == list(range(fresh_clip.frames)) and f"recipe {recipe}: " in str(result)
    folder = fresh_clip.folder / "edits/t/keyframes" / layer
    first = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    assert len(first) == fresh_clip.frames
    saved = json.loads((fresh_clip.folder / "edits/t/edit.json").read_text())["layers"][layer]
    assert saved["on"] == "frames" and saved["recipe"]["name"] == recipe
    assert [stage["stage"] for stage in saved["recipe"]["stages"]] == [stage.kind for stage in PRESETS[recipe].stages]
    assert edit(options).up_to_date
    if recipe not in ("layered", "diffsynth", "clip-tuning"):  # these hold every kind of stage
        return
    shutil.rmtree(fresh_clip.folder / "edits")
    edit(options)
    assert {path.name: path.read_bytes() for path in sorted(folder.iterdir())} == first


def test_steps_that_a_small_strength_leaves_none_of_are_told(fresh_clip: Clip, prompted: Make) -> None:
    said = "--strength 0.45 of --steps 2 is no whole step: frames stay what they start from"
    assert said in str(edit(on_frames(prompted, fresh_clip, "img2img")))
    untouched = crops(fresh_clip)
    assert "no whole step" not in str(edit(on_frames(prompted, fresh_clip, "img2img", steps=3, name="u")))
    assert "no whole step" not in str(edit(on_frames(prompted, fresh_clip, "img2img", strength=0.0, name="v")))
    assert all(np.array_equal(a, b) for a, b in zip(untouched, crops(fresh_clip, "v"), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(untouched, crops(fresh_clip, "u"), strict=True))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recipe": "layered", "steps": 1}, "--agree-at 0.2-0.85 holds none of the steps 0 to 0 that are taken"),
        (
            {"recipe": "img2img", "strength": 0.5, "agree": "atlas", "agree_at": "0,0.25", "steps": 4},
            "--agree-at 0,0.25 holds none of the steps 0.5 to 0.75 that are taken",
        ),
        ({"recipe": "img2img", "strength": 0.5, "agree": "atlas", "agree_at": "0.5", "steps": 4}, None),
    ],
)
def test_agreement_at_steps_that_are_not_taken_is_told(
    changes: dict[str, Any], told: str | None, fresh_clip: Clip, prompted: Make
) -> None:
    result = edit(on_frames(prompted, fresh_clip, **changes))
    sheets = result.edit.folder / "steps" / "all"
    assert (told or "") in str(result) and ("not made to agree" in str(result)) == (told is not None)
    assert any(sheets.glob("*.jpg")) == (told is None)


def test_one_window_anchors_of_all_and_fixed_batches_equal_plain_joint_attention(fresh_clip: Clip, prompted: Make) -> None:
    plain = on_frames(prompted, fresh_clip, "random", attend="joint", name="t")
    edit(plain)
    joint = crops(fresh_clip)
    edit(on_frames(prompted, fresh_clip, "random", attend="joint", window=12, stride=6, name="windowed"))
    edit(on_frames(prompted, fresh_clip, "random", attend="anchors:12", name="anchors"))
    edit(on_frames(prompted, fresh_clip, "random", attend="joint", window=4, stride=2, name="others"))
    for name in ("windowed", "anchors"):
        assert all(np.array_equal(a, b) for a, b in zip(joint, crops(fresh_clip, name), strict=True)), name
    assert not all(np.array_equal(a, b) for a, b in zip(joint, crops(fresh_clip, "others"), strict=True))


def test_a_changed_finish_samples_nothing_again(fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(on_frames(prompted, fresh_clip, "layered"))
    before = crops(fresh_clip)
    monkeypatch.setattr("edit.all_frames.sampler.begin_sampling", lambda *_: pytest.fail("sampled again"))
    edit(on_frames(prompted, fresh_clip, "layered", finish="none", name="t"))
    folders = [path for path in (fresh_clip.folder / "edits/t/cache/all").iterdir() if path.is_dir()]
    after = [sorted(folder.iterdir())[0].read_bytes() for folder in folders]
    assert len(folders) == 2 and len(set(after)) == 2 and len(before) == 12


def test_tuning_is_done_again_where_the_frame_that_it_learns_from_is_edited_otherwise(fresh_clip: Clip, prompted: Make) -> None:
    for steps in (3, 4, 3):
        edit(on_frames(prompted, fresh_clip, "clip-tuning", steps=steps, tune_steps=1, tune_with="lora:2"))
    assert len(list((fresh_clip.folder / "edits/t/cache/all").glob("tuned-*.safetensors"))) == 2


@pytest.mark.parametrize(("recipe", "more"), [("layered", {}), ("clip-tuning", {"tune_steps": 3, "strength": 0.9})])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(
    recipe: str, more: dict[str, Any], fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = on_frames(prompted, fresh_clip, recipe, layer="foreground", steps=3, **more)
    edit(options)
    folder = fresh_clip.folder / "edits/t/keyframes/foreground"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(fresh_clip.folder / "edits")
    places = [(LoopState, "save", 1), (LoopState, "save", 1), (sampler, "save_tensors", 1), (run, "decoded_frame", 5)]
    for owner, name, count in places:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killing(getattr(owner, name), count))
            with pytest.raises(KeyboardInterrupt):
                edit(options)
        assert not folder.exists()
    edit(options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    left = [path.name for path in (fresh_clip.folder / "edits/t/cache/foreground").iterdir() if path.suffix == ".bin"]
    assert not left


def killing(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function, but interrupted right after it was called `count` times."""
    calls = 0

    def called(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        result = function(*given, **named)
        if calls == count:
            raise KeyboardInterrupt
        return result

    return called


def test_a_prompt_holds_from_its_frame_on_until_the_next(fresh_clip: Clip, prompted: Make) -> None:
    edit(on_frames(prompted, fresh_clip, "fixed", prompt="a cat"))
    cats = crops(fresh_clip)
    edit(on_frames(prompted, fresh_clip, "fixed", prompt="a dog", name="dogs"))
    dogs = crops(fresh_clip, "dogs")
    edit(on_frames(prompted, fresh_clip, "fixed", prompt="a cat", prompt_at=("5:a dog", "9:a cat"), name="both"))
    both = crops(fresh_clip, "both")
    for index, image in enumerate(both):
        assert np.array_equal(image, dogs[index] if 5 <= index < 9 else cats[index])
        assert not np.array_equal(cats[index], dogs[index])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recipe": "best"}, "there is no recipe 'best': --recipe is one of layered, diffsynth, "),
        ({"recipe": "co-denoise", "window": 13}, "--window 13 is longer than the clip: it has 12 frames"),
        ({"recipe": "co-denoise", "window": 4, "stride": 5}, "--stride 5 leaves frames out between windows of 4"),
        ({"recipe": "fixed", "stride": 2}, "--stride 2 needs windows"),
        ({"recipe": "layered", "agree_at": "0.2-1.2"}, "--agree-at 0.2-1.2: shares of the schedule go from 0"),
        ({"recipe": "layered", "agree_at": "0.9-0.2"}, "--agree-at 0.9-0.2: shares of the schedule go from 0"),
        ({"recipe": "layered", "agree_at": "half"}, "--agree-at 'half' is not understood"),
        ({"recipe": "fixed", "agree_at": "0.5"}, "--agree-at needs --agree"),
        ({"recipe": "fixed", "attend": "all"}, "--attend 'all' is not understood"),
        ({"recipe": "layered", "window": 4}, "--window 4 with --attend anchors, which sees all frames"),
        ({"recipe": "fixed", "tune_steps": 3}, "--tune-steps is for recipes that tune"),
        ({"recipe": "fixed", "tune": "fused"}, "--tune fused learns from frames that were sampled before"),
        ({"recipe": "clip-tuning", "tune_with": "lora"}, "--tune-with 'lora' is not understood"),
        ({"recipe": "clip-tuning", "tune": "edit:none"}, "has no edit 'none'"),
        ({"recipe": "fixed", "finish": "blur"}, "--finish 'blur' is not understood"),
        ({"recipe": "fixed", "finish": "tone:1.1"}, "--finish tone '1.1' is not understood"),
        ({"recipe": "fixed", "start_from": "edit:none"}, "has no edit 'none'"),
        ({"recipe": "fixed", "start_from": "edit:t"}, "--start edit:t is the edit that is made here"),
        ({"recipe": "clip-tuning", "tune": "edit:t"}, "--tune edit:t is the edit that is made here"),
        ({"recipe": "fixed", "batch": 0}, "--batch 0: give 1 or more"),
        ({"recipe": "fixed", "strategy": "random"}, "--strategy is for keyframes, --on frames has recipes"),
        ({"recipe": "fixed", "strategy": "propagate"}, "--strategy is for keyframes, --on frames has recipes"),
        ({"recipe": "fixed", "hold": 0.5}, "--hold is for keyframes, --on frames has recipes"),
        ({"recipe": "fixed", "on": None, "layer": "foreground"}, "--recipe is for --on frames"),
        ({"recipe": "layered", "fit": "none"}, "has no fit 'none'"),
        ({"recipe": "fixed", "fit": "none"}, "has no fit 'none'"),
        ({"recipe": "fixed", "finish": "atlas", "fit": "none"}, "has no fit 'none'"),
        ({"recipe": "fixed", "prompt_at": ("12:a dog",)}, "keyframe 12 is past the end"),
    ],
)
def test_what_cannot_be_is_said_before_weights_load(
    changes: dict[str, Any], expected: str, fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edit.diffusion.sources.load", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(UserError) as problem:
        edit(on_frames(prompted, fresh_clip, **{"recipe": "fixed", **changes}))
    assert expected in str(problem.value) and "\n" not in str(problem.value)
    assert not (fresh_clip.folder / "edits").exists()


def test_pairs_whose_frame_is_not_there_are_refused(
    fresh_clip: Clip, prompted: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edit.diffusion.sources.load", lambda *_: pytest.fail("weights were loaded"))
    pairs = tmp_path / "pairs"
    with pytest.raises(UserError, match="--pairs .* is not a folder"):
        edit(on_frames(prompted, fresh_clip, "clip-tuning", pairs=pairs))
    pairs.mkdir()
    shutil.copy(fresh_clip.frame_path(0), pairs / "00012.png")
    with pytest.raises(UserError, match="has an edit of frame 12, the clip has frames 0 to 11"):
        edit(on_frames(prompted, fresh_clip, "clip-tuning", pairs=pairs))
