"""Colours of films of every kind as they are decoded, and as other programs decode what is written: known answers."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from atlas.errors import UserError
from atlas.storage.images import to_8_bit
from atlas.video.colour_tags import BT709, completed
from atlas.video.conversion import Coding, to_rgb
from atlas.video.ffmpeg import has_filter, pixel_format
from atlas.video.reading import probe, read_frames
from atlas.video.source import open_source
from atlas.video.writing import FORMATS, write_video

COLOURS = np.array([[200, 30, 40], [20, 180, 60], [30, 50, 210], [230, 220, 40], [128, 128, 128], [255, 255, 255]], np.uint8)
EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp"
SRGB = "format=gbrp16le,setparams=colorspace=gbr:range=pc:color_primaries=bt709:color_trc=bt709"
H264 = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
H265 = ("-c:v", "libx265", "-x265-params", "log-level=error:lossless=1")


def bars(height: int = 48, width: int = 96) -> np.ndarray:
    """The colours in bars, (H, W, 3) uint8."""
    return np.broadcast_to(np.repeat(COLOURS, width // len(COLOURS), 0), (height, width, 3)).copy()


def ffmpeg(*arguments: str, given: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    return subprocess.run(command, check=True, capture_output=True, input=given).stdout


def encode(path: Path, filters: str, *codec: str, image: np.ndarray | None = None) -> Path:
    """A film of one picture, twice, encoded by ffmpeg alone."""
    image = bars() if image is None else image
    layout = {(3, 1): "rgb24", (4, 1): "rgba", (3, 2): "rgb48le"}[image.shape[2], image.dtype.itemsize]
    shape = ("-f", "rawvideo", "-pix_fmt", layout, "-video_size", f"{image.shape[1]}x{image.shape[0]}", "-framerate", "24")
    ffmpeg(*shape, "-i", "-", "-vf", filters, *codec, str(path), given=image.tobytes() * 2)
    return path


def middles(image: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar, (6, 3)."""
    width = image.shape[1] // len(COLOURS)
    return image[image.shape[0] // 2, width // 2 :: width].astype(int)


def shown(path: Path) -> np.ndarray:
    """The bars as they are decoded, (6, 3)."""
    return middles(next(read_frames(path)))


@pytest.mark.parametrize(
    ("height", "matrix", "named"), [(48, "bt601", "smpte170m"), (288, "bt601", "bt470bg"), (720, "bt709", "bt709")]
)
def test_untagged_films_are_decoded_by_their_size(tmp_path: Path, height: int, matrix: str, named: str) -> None:
    """As players do: BT.601 below 720 lines, BT.709 from there on; what is made of them says which."""
    filters = f"scale=out_color_matrix={matrix}:{EXACT},setparams=colorspace=unknown"
    path = encode(tmp_path / "a.mp4", filters, *H264, image=bars(height))
    source = open_source(path)
    assert "colorspace" not in probe(path).colour
    assert np.abs(middles(next(source.read([0]))) - COLOURS).max() <= 3
    assert source.colour["colorspace"] == named == source.colour["color_primaries"] and len(source.colour) == 4


def test_the_lines_of_a_turned_film_are_those_that_it_stores(tmp_path: Path) -> None:
    filters = f"scale=out_color_matrix=bt709:{EXACT},setparams=colorspace=unknown"
    path = encode(tmp_path / "a.mp4", filters, *H264, image=bars(720))
    ffmpeg("-display_rotation", "90", "-i", str(path), "-c", "copy", str(tmp_path / "turned.mp4"))
    turned = open_source(tmp_path / "turned.mp4")
    assert (turned.height, turned.colour) == (96, BT709)


@pytest.mark.parametrize(
    ("matrix", "tag", "range_"), [("bt709", "bt709", "tv"), ("bt601", "smpte170m", "pc"), ("bt2020", "bt2020nc", "tv")]
)
def test_tagged_films_are_decoded_by_their_tags(tmp_path: Path, matrix: str, tag: str, range_: str) -> None:
    tags = f"setparams=colorspace={tag}:range={range_}:color_primaries=bt709:color_trc=bt709"
    path = encode(
        tmp_path / "a.mp4", f"scale=out_color_matrix={matrix}:out_range={range_}:{EXACT},format=yuv444p,{tags}", *H264
    )
    assert np.abs(shown(path) - COLOURS).max() <= 3
    assert open_source(path).colour == {**BT709, "colorspace": tag, "color_range": range_}


def test_tags_of_the_container_count_where_the_stream_has_none(tmp_path: Path) -> None:
    chain = f"{SRGB},zscale=p=bt2020:t=arib-std-b67:m=2020_ncl:r=tv,format=yuv444p10le,"
    unsaid = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"
    path = encode(tmp_path / "a.mp4", chain + unsaid, *H265)
    said = ("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc")
    ffmpeg("-i", str(path), "-c", "copy", *said, str(tmp_path / "b.mkv"))
    assert probe(path).colour == {"color_range": "tv"}
    assert probe(tmp_path / "b.mkv").colour["color_trc"] == "arib-std-b67"
    assert "tone-mapped" in open_source(tmp_path / "b.mkv").remarks()[0]


@pytest.mark.parametrize("lines", [48, 720])
def test_motion_jpeg_is_of_bt601_and_in_hd_of_other_primaries(tmp_path: Path, lines: int) -> None:
    filters = f"scale=out_color_matrix=bt601:out_range=pc:{EXACT}"
    path = encode(tmp_path / "a.avi", filters, "-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj444p", image=bars(lines))
    colour = open_source(path).colour
    assert np.abs(shown(path) - COLOURS).max() <= 5
    assert (colour["colorspace"], colour["color_primaries"]) == ("bt470bg", "bt470bg" if lines == 48 else "bt709")


@pytest.mark.parametrize(("matrix", "goal"), [("ycgco", "bt709:t=bt709"), ("bt2020c", "bt2020:t=bt2020-10")])
def test_matrices_that_the_scaler_lacks(tmp_path: Path, matrix: str, goal: str) -> None:
    path = encode(tmp_path / "a.mp4", f"{SRGB},zscale=p={goal}:m={matrix}:r=tv,format=yuv444p10le", *H265)
    assert np.abs(shown(path) - COLOURS).max() <= 6
    assert open_source(path).colour == BT709


@pytest.mark.parametrize(("codec", "suffix"), [(("libx264rgb", "-qp", "0"), "mp4"), (("png",), "mov")])
def test_films_of_rgb(tmp_path: Path, codec: tuple[str, ...], suffix: str) -> None:
    path = encode(tmp_path / f"a.{suffix}", "null", "-c:v", *codec)
    assert (shown(path) == COLOURS).all() and open_source(path).colour == BT709


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize(("matrix", "decoded_by"), [("", "bt709"), ("smpte170m", "bt601"), ("ycgco", "bt709")])
def test_what_is_written_is_tagged_and_true(tmp_path: Path, kind: str, matrix: str, decoded_by: str) -> None:
    """Decoded by ffmpeg, told the matrix that the tags name."""
    path, colour = tmp_path / f"a{FORMATS[kind].suffix}", {"colorspace": matrix} if matrix else {}
    write_video(path, [bars(), bars()], 24, kind=kind, colour=colour)
    tags = probe(path).colour
    assert {**tags, "color_range": "tv"} == completed(colour)
    assert tags["colorspace"] == ("smpte170m" if decoded_by == "bt601" else "bt709")
    explicit = ("-frames:v", "1", "-vf", f"scale=in_color_matrix={decoded_by}:{EXACT}", "-f", "rawvideo", "-pix_fmt", "rgb24")
    found = np.frombuffer(ffmpeg("-i", str(path), *explicit, "-"), np.uint8).reshape(48, 96, 3)
    assert np.abs(middles(found) - COLOURS).max() <= 5


@pytest.mark.parametrize(
    ("curve", "white", "matrix"),
    [("smpte2084", 100, "bt2020nc"), ("arib-std-b67", 203, "bt2020nc"), ("smpte2084", 203, "ictcp")],
)
def test_high_dynamic_range_is_mapped_to_bt709(tmp_path: Path, curve: str, white: int, matrix: str) -> None:
    """An ordinary picture, put into a film of high dynamic range with its white at so many nits, comes back."""
    chain = f"{SRGB},zscale=p=bt2020:t={curve}:m={matrix}:r=tv:npl={white},format=yuv444p10le"
    source = open_source(encode(tmp_path / "a.mp4", chain, *H265))
    name = "PQ" if curve == "smpte2084" else "HLG"
    assert source.conversion is not None
    assert source.conversion.said == f"has high dynamic range ({name}, BT.2020): tone-mapped to BT.709"
    assert source.colour == BT709 and source.deep
    found = middles(to_8_bit(next(source.read([0]))))
    below_the_knee = COLOURS.max(1) < 185
    assert np.abs(found - COLOURS)[below_the_knee].max() <= 10
    assert np.abs(found - COLOURS).max() < 32 and (found.argmax(1) == COLOURS.argmax(1)).all()


def test_a_curve_of_high_dynamic_range_is_enough(tmp_path: Path) -> None:
    """Of a film that says nothing but its curve the rest is BT.2020."""
    chain = f"{SRGB},zscale=p=bt2020:t=smpte2084:m=2020_ncl:r=tv:npl=203,format=yuv444p10le"
    source = open_source(encode(tmp_path / "a.mp4", f"{chain},setparams=colorspace=unknown:color_primaries=unknown", *H265))
    assert source.remarks() == ["has high dynamic range (PQ, BT.2020): tone-mapped to BT.709"]
    assert np.abs(middles(to_8_bit(next(source.read([0])))) - COLOURS).max() < 32


def test_dolby_vision_of_its_own_colours_is_refused(tmp_path: Path) -> None:
    film = bytearray(encode(tmp_path / "a.mp4", "format=yuv420p10le", *H265, "-tag:v", "hvc1").read_bytes())
    box = b"\0\0\0\x20dvcC" + bytes([1, 0, 5 << 1, 0b110101, 0, *bytes(19)])  # version 1.0, profile 5
    place = film.index(b"hvcC") - 4
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):  # they hold one another
        at = film.index(kind, film.index(b"moov")) - 4
        film[at : at + 4] = (int.from_bytes(film[at : at + 4], "big") + len(box)).to_bytes(4, "big")
    film[place:place] = box
    (tmp_path / "a.mp4").write_bytes(film)
    with pytest.raises(UserError, match="ipt-c2"):
        open_source(tmp_path / "a.mp4")


@pytest.mark.parametrize(("primaries", "curve", "said"), [
    ("bt2020", "bt2020-10", "BT.2020 colours"), ("smpte432", "bt709", "Display P3 colours"),
    ("bt709", "log316", "a logarithmic curve"),
])  # fmt: skip
def test_other_primaries_and_curves_are_converted(tmp_path: Path, primaries: str, curve: str, said: str) -> None:
    path = encode(tmp_path / "a.mp4", f"{SRGB},zscale=p={primaries}:t={curve}:m=709:r=tv,format=yuv444p12le", *H265)
    conversion = open_source(path).conversion
    assert conversion is not None and conversion.said == f"has {said}: converted to BT.709" and conversion.colour == BT709
    assert np.abs(shown(path) - COLOURS).max() <= 4


def test_what_no_filter_converts_is_refused() -> None:
    for tags in ({"color_trc": "vlog"}, {"color_primaries": "vgamut"}, {"colorspace": "ipt-c2"}):
        with pytest.raises(UserError, match=r'cannot convert .*ffmpeg -i "a\.mov" -vf lut3d=TABLE\.cube') as problem:
            to_rgb(Path("a.mov"), Coding("yuv420p10le", 720, tags), 1)
        assert "\n" not in str(problem.value)


def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """ICtCp is defined for high dynamic range alone."""
    tags = "setparams=colorspace=ictcp:color_primaries=bt709:color_trc=bt709"
    path = encode(tmp_path / "a.mp4", f"format=yuv420p10le,{tags}", *H265)
    with pytest.raises(UserError, match=r"cannot convert \(ictcp bt709 bt709\)"):
        open_source(path)


def test_without_zscale_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.video.conversion.has_filter", lambda name: name != "zscale")
    with pytest.raises(UserError, match=r'no filter zscale: .*ffmpeg -i "a\.mov" -vf zscale=t=linear.*tonemap'):
        to_rgb(Path("a.mov"), Coding("yuv420p10le", 720, {"color_trc": "smpte2084"}), 1)
    assert to_rgb(Path("a.mov"), Coding("yuv420p10le", 720, BT709), 1).colour == BT709


@pytest.mark.parametrize(("codec", "layout", "suffix"), [
    (H265, "yuv420p10le", "mp4"), (("-c:v", "prores_ks"), "yuv422p10le", "mov"), (("-c:v", "ffv1"), "gbrp16le", "mkv"),
])  # fmt: skip
def test_films_of_more_than_8_bits_keep_them(tmp_path: Path, codec: tuple[str, ...], layout: str, suffix: str) -> None:
    ramp = np.repeat(np.linspace(8000, 56000, 512).astype(np.uint16)[None, :, None], 32, 0).repeat(3, 2)
    filters = f"scale=out_color_matrix=bt601:{EXACT}"
    path = encode(tmp_path / f"a.{suffix}", filters, *codec, "-pix_fmt", layout, image=ramp)
    deep, eight = (next(read_frames(path, deep=wanted)) for wanted in (True, False))
    assert deep.dtype == np.uint16 and eight.dtype == np.uint8 and open_source(path).deep
    assert len(np.unique(deep[16])) > 400 and np.abs(deep[16].astype(int) - ramp[16]).max() < 65535 / 250
    assert np.abs(to_8_bit(deep).astype(int) - eight).max() <= 1


def clear() -> np.ndarray:
    """The bars, opaque above, half there in the middle, below not at all but bright green: (48, 96, 4) uint8."""
    alpha = np.repeat(np.array([255, 128, 0], np.uint8), 16)[:, None, None].repeat(96, 1)
    image = np.concatenate([bars(), alpha], 2)
    image[32:, :, :3] = (0, 255, 0)
    return image


@pytest.mark.parametrize(("codec", "layout", "suffix"), [
    ("libvpx", "yuva420p", "webm"), ("libvpx-vp9", "yuva420p", "mkv"), ("prores_ks", "yuva444p10le", "mov"),
    ("png", "rgba64be", "mov"), ("qtrle", "argb", "mov"),
])  # fmt: skip
def test_what_is_transparent_does_not_show(tmp_path: Path, codec: str, layout: str, suffix: str) -> None:
    extra = ("-auto-alt-ref", "0", "-crf", "4", "-b:v", "2M") if "vpx" in codec else ()
    source = open_source(encode(tmp_path / f"a.{suffix}", "null", "-c:v", codec, "-pix_fmt", layout, *extra, image=clear()))
    frame = to_8_bit(next(source.read([1])))
    assert not frame[36:].any()
    for row, share in ((8, 1.0), (24, 128 / 255)):
        assert np.abs(frame[row, 8::16] - COLOURS * share).max() <= 12


def test_a_gif_with_holes(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.gif", "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none", image=clear())
    frame = next(read_frames(path))
    assert not frame[36:].any() and np.abs(frame[8, 8::16].astype(int) - COLOURS).max() <= 4
    assert {key: open_source(path).colour.get(key) for key in BT709} == BT709


def test_colours_that_are_multiplied_already_are_taken_as_they_are(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", "null", "-c:v", "ffv1", "-pix_fmt", "bgra", image=clear())
    info = probe(path)
    assert np.abs(next(read_frames(path, info=info))[24, 8::16] * 2.0 - COLOURS).max() <= 2
    info = replace(info, coding=replace(info.coding, premultiplied=True))
    assert (next(read_frames(path, info=info))[24, 8::16] == COLOURS).all()


def test_pixel_formats() -> None:
    known = {
        "yuv420p": "", "yuva444p12le": "alpha deep", "gbrap": "alpha rgb", "gbrp10le": "deep rgb", "p010le": "deep",
        "pal8": "alpha rgb", "ya8": "alpha", "gray16le": "deep", "rgba64le": "alpha deep rgb", "nv12": "", "0rgb": "rgb",
        "nonesuch": "",
    }  # fmt: skip
    for name, held in known.items():
        found = pixel_format(name)
        assert {key for key in ("alpha", "deep", "rgb") if getattr(found, key)} == set(held.split()), name
    assert has_filter("scale") and not has_filter("scal") and not has_filter("nonesuch")
