"""Rendering on films of 10 bits and of HD size, prepared as anyone's: depth and colours arrive in what is written."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.edits import Edit
from atlas.errors import UserError
from atlas.maps.maps import Maps
from atlas.preparation.stage import PrepareOptions, prepare
from atlas.rendering.frames import deepened, open_checked_source
from atlas.rendering.stage import RenderOptions, render
from atlas.sample.files import write_truth_fit
from atlas.sample.scene import Sample, make_sample
from atlas.storage.images import read_image, to_8_bit, to_16_bit, to_uint16, write_image
from atlas.video.colour_tags import BT709
from atlas.video.reading import probe, read_frames
from atlas.video.source import fit_image

pytestmark = pytest.mark.slow


def film(path: Path, frames: np.ndarray, filters: str, *codec: str) -> Path:
    """A film that ffmpeg alone encodes. frames: (T, H, W, 3) uint8 or uint16."""
    layout, size = "rgb48le" if frames.dtype == np.uint16 else "rgb24", f"{frames.shape[2]}x{frames.shape[1]}"
    given = ["-f", "rawvideo", "-pix_fmt", layout, "-video_size", size, "-framerate", "24", "-i", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *given, "-vf", filters, *codec, str(path)]
    subprocess.run(command, check=True, input=frames.tobytes())
    return path


def edited_clip(source: Path, sample: Sample, folder: Path, **options: Any) -> Clip:
    """Prepare a film of the sample, with the sample's true fit, and an edit "red" of its foreground."""
    info = probe(source)
    for index, mask in enumerate(sample.masks("foreground")):
        large = cv2.resize(mask, (info.width, info.height), interpolation=cv2.INTER_NEAREST)
        write_image(folder / "masks" / f"{index:05d}.png", large)
    clip = prepare(PrepareOptions(source=source, clip=folder / "clip", masks=str(folder / "masks"), quiet=True, **options))
    write_truth_fit(sample, clip, "truth")
    atlas = sample.atlases["foreground"] * np.array([1, 0.4, 0.3, 1], np.float32)
    atlas[..., 3] = 1
    edit = Edit(clip.edit_folder("red"), "red", "truth", {"foreground": {"editor": "atlas"}})
    edit.save()
    write_image(edit.atlas_path("foreground"), to_uint16(atlas))
    return clip


def rendered(clip: Clip, **changes: Any) -> str:
    return render(RenderOptions(clip=clip.folder, edit="red", quiet=True, device="cpu", **changes))


def test_ten_bits_arrive_where_the_output_has_them(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ramp = np.linspace(0, 255, sample.frames.shape[2]).astype(np.uint16)[None, None, :, None]
    frames = sample.frames.astype(np.uint16) * 255 + ramp
    filters = "scale=out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,format=yuv444p10le,setparams=colorspace=bt709"
    source = film(tmp_path / "a.mp4", frames, filters, "-c:v", "libx265", "-x265-params", "log-level=error:lossless=1")
    clip = edited_clip(source, sample, tmp_path)
    decoded = list(read_frames(source, deep=True))
    assert clip.source.deep and (clip.frame(3) == to_8_bit(decoded[3])).all()
    painted = clip.frame(4)
    painted[:8, :8] = (255, 0, 255)
    write_image(clip.frame_path(4), painted)
    away = [Maps(clip.fit_folder("truth")).opacity("foreground", index) == 0 for index in range(clip.frames)]
    for size in ("fit", "source"):
        rendered(clip, format="png16", size=size)
        written = [read_image(clip.edit_folder("red") / "frames16" / f"{index:05d}.png") for index in range(clip.frames)]
        assert (written[3][away[3]] == decoded[3][away[3]]).all() and len(np.unique(written[3])) > 500
        if size == "fit":  # what was repainted stays as it was painted
            assert (written[4][:8, :8] == (65535, 0, 65535)).all() and (written[4][8:][away[4][8:]] % 257 != 0).any()
    rendered(clip, format="prores")
    result = next(read_frames(clip.edit_folder("red") / "video.mov", deep=True))
    assert len(np.unique(result)) > 400 and np.abs(result.astype(int) - decoded[0])[away[0]].mean() < 65535 / 100
    source.unlink()
    assert "up to date" not in rendered(clip, format="png16")
    assert "frames have the 8 bits of its own" in capsys.readouterr().err
    eight = read_image(clip.edit_folder("red") / "frames16" / "00003.png")
    assert (eight[away[3]] == to_16_bit(clip.frame(3))[away[3]]).all()


def test_a_prepared_frame_keeps_what_was_painted_and_gains_the_depth_of_the_rest() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (4, 6, 3), np.uint16)
    prepared = to_8_bit(deep).copy()
    prepared[0, 0] = prepared[0, 0] + np.uint8(3)
    result = deepened(prepared, deep)
    assert (result.reshape(-1, 3)[1:] == deep.reshape(-1, 3)[1:]).all() and (result[0, 0] == to_16_bit(prepared)[0, 0]).all()


def test_an_untagged_film_of_hd_size_keeps_its_colours(tmp_path: Path) -> None:
    """Players take it for BT.709; its source and what is made of it must look alike in each of them."""
    sample = make_sample(frames=2, height=54, width=96, objects=1, seed=0)
    large = np.stack([cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_LINEAR) for frame in sample.frames])
    filters = "scale=out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,format=yuv444p,setparams=colorspace=unknown"
    source = film(tmp_path / "a.mp4", large, filters, "-c:v", "libx264", "-qp", "4", "-preset", "ultrafast")
    clip = edited_clip(source, sample, tmp_path, max_side=96)
    assert (clip.width, clip.height) == (96, 54) and clip.source.colour == BT709
    assert np.abs(clip.frame(1).astype(int) - fit_image(large[1], (96, 54))).mean() < 2
    rendered(clip, size="source", crf=12)
    film_of_it = clip.edit_folder("red") / "video.mp4"
    info = probe(film_of_it)
    assert (info.width, info.height, info.colour) == (1280, 720, BT709)
    away = cv2.resize(Maps(clip.fit_folder("truth")).opacity("foreground", 0), (1280, 720)) == 0
    explicit = ["-vf", "scale=in_color_matrix=bt709", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(film_of_it), *explicit]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    found = np.frombuffer(raw, np.uint8).reshape(720, 1280, 3)
    assert np.abs(found[away].astype(int) - large[0][away]).mean() < 3


def test_a_clip_of_high_dynamic_range_prepared_without_mapping_is_refused_at_full_size(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = (
        "format=gbrp16le,setparams=colorspace=gbr:range=pc:color_primaries=bt709:color_trc=bt709,zscale=p=bt2020:t=smpte2084"
    )
    codec = ("-c:v", "libx265", "-x265-params", "log-level=error")
    source = film(tmp_path / "a.mp4", sample.frames, f"{chain}:m=2020_ncl:r=tv,format=yuv420p10le", *codec)
    clip = edited_clip(source, sample, tmp_path)
    assert capsys.readouterr().out.count("tone-mapped") == 1
    assert np.abs(clip.frame(0).mean((0, 1)) - sample.frames[0].mean((0, 1))).max() < 6
    assert abs(clip.frame(0).std() / sample.frames[0].std() - 1) < 0.1
    assert clip.source.colour == BT709 and open_checked_source(clip).colour == BT709
    clip.source.colour = {"color_trc": "smpte2084"}
    with pytest.raises(UserError, match=r"tone-mapped to BT\.709 now, .*prepare again"):
        open_checked_source(clip)
