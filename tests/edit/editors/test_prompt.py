"""The edit stage by a prompt, with tiny models: keyframes, the atlas itself, what is reused, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aggregate.stage import AggregateOptions, aggregate
from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.evaluation.stage import EvaluateOptions, evaluate
from atlas.evaluation.table import table
from atlas.maps.maps import Maps
from atlas.rendering.stage import RenderOptions, render
from atlas.storage.images import read_image, to_uint8, write_image
from atlas.video.reading import probe
from edit.diffusion.conditions import canny
from edit.diffusion.crop import Crop
from edit.diffusion.weights import load
from edit.editors import EditOptions
from edit.record import EditResult
from edit.stage import edit
from edit.strategies import STRATEGIES, Registered
from edit.strategies.random import Random

Make = Callable[..., EditOptions]
FIRST = 6  # of keyframes 0, 6, 11 the one that sees most of the foreground


def keyframe(result: EditResult, index: int) -> np.ndarray:
    return read_image(result.edit.keyframe_path(result.layer, index))


def changed(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_strategies_differ_and_repeat(fresh_clip: Clip, prompted: Make) -> None:
    made: dict[str, list[np.ndarray]] = {}
    for strategy in STRATEGIES:
        result = edit(prompted(fresh_clip, name=strategy, strategy=strategy))
        made[strategy] = [keyframe(result, index) for index in (0, 6, 11)]
        again = edit(prompted(fresh_clip, name=f"{strategy}-again", strategy=strategy))
        assert all(np.array_equal(keyframe(again, i), image) for i, image in zip((0, 6, 11), made[strategy], strict=True))
        assert edit(prompted(fresh_clip, name=strategy, strategy=strategy)).up_to_date
    names = list(made)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            same = [np.array_equal(a, b) for a, b in zip(made[first], made[second], strict=True)]
            assert sum(same) == 1  # the first keyframe, which has nothing to go by, is the same under all
    other = edit(prompted(fresh_clip, name="other", strategy="propagate", seed=1))
    assert not any(np.array_equal(keyframe(other, i), image) for i, image in zip((0, 6, 11), made["propagate"], strict=True))


def test_the_first_keyframe_is_what_the_pipeline_makes(fresh_clip: Clip, prompted: Make) -> None:
    options = prompted(fresh_clip, keyframes="6", seed=4, negative="a dog", guidance=5.0, steps=3, control_scale=(0.4,))
    result = edit(options)
    maps = Maps(fresh_clip.fit_folder("truth"))
    crop = Crop.around(maps.opacity("foreground", 6), 64)
    assert crop is not None
    from edit.models.weights import Weights

    theirs = (
        load(Weights.of(options, torch.device("cpu")))
        .pipeline(
            "a cat",
            image=Image.fromarray(canny(crop.cut(fresh_clip.frame(6)))),
            negative_prompt="a dog",
            num_inference_steps=3,
            guidance_scale=5.0,
            controlnet_conditioning_scale=0.4,
            generator=torch.Generator().manual_seed(4),
            output_type="np",
        )
        .images[0]
    )
    cached = list(result.edit.cache_folder("foreground").glob("*.png"))
    assert len(cached) == 1 and np.array_equal(read_image(cached[0]), to_uint8(theirs))
    pasted, found = to_uint8(crop.paste(theirs, fresh_clip.frame(6) / np.float32(255))), keyframe(result, 6)
    seen = found[..., 3] > 0
    assert np.abs(found[seen][:, :3].astype(int) - pasted[seen][:, :3]).max() <= 1
    assert np.array_equal(found[..., 3], to_uint8(maps.opacity("foreground", 6)))


def test_only_what_changed_is_made_again(fresh_clip: Clip, prompted: Make) -> None:
    first = edit(prompted(fresh_clip))
    cache = first.edit.cache_folder("foreground")
    before, made = changed(cache), keyframe(first, FIRST)
    assert len(before) == 3
    last = edit(prompted(fresh_clip, prompt_at=("0:a dog",)))  # the last of the order: nothing else hangs on it
    assert len(changed(cache)) == 4 and before.items() <= changed(cache).items()
    assert np.array_equal(keyframe(last, FIRST), made) and last.edit.layers["foreground"]["diffusion"]["prompt_at"] == [
        "0:a dog"
    ]
    edit(prompted(fresh_clip, prompt="a dog"))
    assert len(changed(cache)) == 7
    back = edit(prompted(fresh_clip))  # all of it is still there
    assert len(changed(cache)) == 7 and np.array_equal(keyframe(back, FIRST), made)
    edit(prompted(fresh_clip, strategy="random"))
    assert len(changed(cache)) == 9  # but for the first keyframe


@pytest.mark.parametrize(("dependence", "made"), [("all", 3), ("last", 3), ("first", 1), ("none", 1)])
def test_a_new_strategy_is_cached_by_what_it_depends_on(
    fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch, dependence: Any, made: int
) -> None:
    """Another prompt for the first keyframe changes those that hang on it, and no other."""

    class Toy(Random):
        depends_on = dependence

    monkeypatch.setitem(STRATEGIES, "toy", Registered("for a test", Toy))
    cache = edit(prompted(fresh_clip, strategy="toy")).edit.cache_folder("foreground")
    assert len(changed(cache)) == 3
    edit(prompted(fresh_clip, strategy="toy", prompt_at=(f"{FIRST}:a dog",)))
    assert len(changed(cache)) == 3 + made


def test_a_killed_run_goes_on(fresh_clip: Clip, prompted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = edit(prompted(fresh_clip, name="whole"))
    calls: list[int] = []
    from edit.strategies.propagate import Propagate

    start = Propagate.start

    def killed(self: Propagate, view: Any) -> Any:
        calls.append(view.index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return start(self, view)

    monkeypatch.setattr(Propagate, "start", killed)
    with pytest.raises(KeyboardInterrupt):
        edit(prompted(fresh_clip))
    folder = fresh_clip.edit_folder("test") / "keyframes" / "foreground"
    assert len(list(folder.glob("*.png"))) == 2  # written as they were done
    calls[:] = [0, 0, 0]
    result = edit(prompted(fresh_clip))
    assert len(calls) == 4 and "repainted" not in str(result)
    assert all(np.array_equal(keyframe(result, i), keyframe(whole, i)) for i in (0, 6, 11))


def test_strength_0_shows_the_first_keyframe_again(fresh_clip: Clip, prompted: Make) -> None:
    def differences(**changes: Any) -> float:
        result = edit(prompted(fresh_clip, name="s", keyframes="5,6", **changes))
        images = [keyframe(result, i).astype(float) for i in (5, 6)]
        inside = (images[0][..., 3] == 255) & (images[1][..., 3] == 255)
        return float(np.abs(images[0] - images[1])[inside].mean())

    assert differences(strength=1.0) == differences(strategy="random")
    assert differences(strength=0.0) < 0.8 * differences(strategy="random")
    with_hold = edit(prompted(fresh_clip, name="h", keyframes="5,6", hold=1.0))
    kept = edit(prompted(fresh_clip, name="k", keyframes="5,6", strength=0.0))
    assert np.abs(keyframe(with_hold, 5).astype(int) - keyframe(kept, 5)).max() <= 3


def test_own_control_images(fresh_clip: Clip, prompted: Make, tmp_path: Path) -> None:
    for grey in (0, 255):
        write_image(tmp_path / str(grey) / "00006.png", np.full((64, 96, 3), grey, np.uint8))
    more = {"control": ("images",), "keyframes": "6"}
    dark, bright = (keyframe(edit(prompted(fresh_clip, control_images=tmp_path / g, **more)), 6) for g in ("0", "255"))
    assert not np.array_equal(dark, bright)
    with pytest.raises(UserError, match="has no image of keyframe 7"):
        edit(prompted(fresh_clip, control_images=tmp_path / "0", control=("images",), keyframes="6,7"))


def test_xl(fresh_clip: Clip, prompted: Make, models: Path) -> None:
    xl = {"model": str(models / "xl"), "controlnet": (str(models / "controlnet-xl"),), "keyframes": "0,6"}
    images = [keyframe(edit(prompted(fresh_clip, name=f"xl-{seed}", seed=seed, **xl)), 0) for seed in (0, 1)]
    assert images[0][..., :3].std() > 5 and not np.array_equal(*images)
    edit(prompted(fresh_clip, name="xl-0", layer="background", **(xl | {"keyframes": None})))


def test_what_is_kept_stays_at_aggregation_and_rendering(fresh_clip: Clip, prompted: Make, tmp_path: Path) -> None:
    size = Maps(fresh_clip.fit_folder("truth")).atlas_size("foreground")
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = 255
    write_image(tmp_path / "keep.png", mask)
    result = edit(prompted(fresh_clip, keep=tmp_path / "keep.png"))
    aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True, device="cpu"))
    alpha = read_image(result.edit.atlas_path("foreground"))[..., 3]
    assert (alpha[mask == 255] == 0).all() and alpha[mask == 0].max() == 65535
    ask = RenderOptions(clip=fresh_clip.folder, edit="test", format="png", quiet=True)
    render(ask)
    frame = read_image(result.edit.folder / "frames" / "00003.png")
    assert (frame != fresh_clip.frame(3)).any()
    write_image(result.edit.keep_path("foreground"), np.full(size, 255, np.uint8))  # painted over: rendering follows at once
    assert "up to date" not in render(ask)
    for index in range(fresh_clip.frames):
        assert np.array_equal(read_image(result.edit.folder / "frames" / f"{index:05d}.png"), fresh_clip.frame(index))
    write_image(tmp_path / "keep.png", mask[:-1])
    with pytest.raises(UserError, match="keep.png is .* paint the mask at the size of"):
        edit(prompted(fresh_clip, keep=tmp_path / "keep.png"))


def test_from_a_prompt_to_a_video(fresh_clip: Clip, prompted: Make) -> None:
    edit(prompted(fresh_clip))
    edit(prompted(fresh_clip, layer="background", keyframes=None))
    aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True, device="cpu"))
    render(RenderOptions(clip=fresh_clip.folder, edit="test", quiet=True))
    assert probe(fresh_clip.edit_folder("test") / "video.mp4").frames == fresh_clip.frames


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "a" * 1300}, "the prompt is 18 times as long as is read at once, at most 16 are taken"),
        ({"negative": "b" * 1201}, "the negative prompt is 17 times as long"),
        ({"prompt_at": ("5:a dog",)}, "--prompt-at 5 is no keyframe: the keyframes are 0, 6, 11"),
        ({"controlnet": ("{models}/controlnet-xl",)}, "is of another family"),
        ({"model": "{models}"}, "is no model"),
        ({"model": "nobody/nothing"}, "is not in the cache, and --offline fetches nothing"),
        ({"model": "{models}/xl", "controlnet": ()}, "the ControlNet diffusers/controlnet-canny-sdxl-1.0 is not in the cache"),
        ({"controlnet": ()}, "the ControlNet lllyasviel/control_v11p_sd15_canny is not in the cache"),
        ({"seed": 2**64}, "--seed 18446744073709551616 is out of range"),
        ({"filter": "grey"}, "--filter is for --editor filter"),
        ({"strategy": "best"}, "there is no strategy 'best': --strategy is one of propagate, random, fixed, sequential"),
    ],
)
def test_wrong_requests_write_nothing(
    fresh_clip: Clip, prompted: Make, models: Path, changes: dict[str, Any], said: str
) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(filled, value))
        return value if isinstance(value, int) else value.replace("{models}", str(models))

    with pytest.raises(UserError, match=said) as problem:
        edit(prompted(fresh_clip, **{name: filled(value) for name, value in changes.items()}))
    assert "\n" not in str(problem.value)
    assert not (fresh_clip.folder / "edits").exists()


def test_a_layer_that_is_not_seen(fresh_clip: Clip, prompted: Make) -> None:
    folder = fresh_clip.fit_folder("truth") / "maps" / "foreground"
    opacity = np.load(folder / "opacity.npy")
    opacity[6] = 0
    np.save(folder / "opacity.npy", opacity)
    with pytest.raises(UserError, match="'foreground' is not seen in frame 6: choose other --keyframes"):
        edit(prompted(fresh_clip))
    np.save(folder / "opacity.npy", np.zeros_like(opacity))
    with pytest.raises(UserError, match="is never visible: there is nothing of it to edit"):
        edit(prompted(fresh_clip))
    assert not (fresh_clip.folder / "edits").exists()


def test_without_the_packages(fresh_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "diffusers" else find(name, *rest))
    options = EditOptions(
        clip=fresh_clip.folder, name="test", layer="foreground", fit="truth", editor="diffusion", prompt="a cat", quiet=True
    )
    with pytest.raises(UserError, match=r"needs diffusers, which is not installed: pip install -e .\[diffusion\]"):
        edit(options)
    assert isinstance(Edit.open_or_new(fresh_clip, "test", "truth"), Edit)


def test_evaluate_puts_propagate_before_random(fresh_clip: Clip, prompted: Make) -> None:
    found = {}
    for strategy in ("propagate", "random"):
        edit(prompted(fresh_clip, strategy=strategy, keyframes="4,6,8", steps=4, strength=0.5))
        aggregate(AggregateOptions(clip=fresh_clip.folder, edit="test", method="mean", quiet=True, device="cpu"))
        report = evaluate(EvaluateOptions(clip=fresh_clip.folder, edit="test", quiet=True))
        overlap = report["edit"]["keyframe_overlap"]["foreground"]
        assert overlap["strategy"] == strategy and f"keyframes ({strategy}) differ by" in table(report)
        found[strategy] = overlap["edited"]
    assert found["propagate"] < 0.8 * found["random"]
