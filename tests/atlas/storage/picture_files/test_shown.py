"""Pictures are read as viewers show them: upright, in sRGB, and with nothing shown that alpha hides."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from atlas.errors import UserError
from atlas.storage.images import over_white, read_image, read_numbers, to_float, write_image
from atlas.storage.picture_files.png import SIGNATURE
from atlas.storage.picture_files.tone_curve import tone_curve
from atlas.storage.pictures import picture_header
from atlas.video.source import open_source

SHAPE = (20, 30)
ADOBE = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
D65 = (0.3127, 0.3290)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def adapted(primaries: list[tuple[float, float]]) -> np.ndarray:
    """Red, green and blue of these primaries as XYZ under D50, by Bradford's matrix."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    columns = np.stack([xyz(*one) for one in primaries], 1)
    columns = columns * np.linalg.solve(columns, xyz(*D65))
    gain = (bradford @ [0.9642, 1, 0.8249]) / (bradford @ xyz(*D65))
    return np.linalg.inv(bradford) @ np.diag(gain) @ bradford @ columns


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 display profile of these tags."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642, 1, 0.8249), **tags}
    table, content = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(content), 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + s15(0.9642, 1, 0.8249)
    return head + bytes(128 - len(head)) + table + content


def s15(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def rgb_profile(primaries: list[tuple[float, float]], curve: bytes) -> bytes:
    columns = adapted(primaries)
    colours = {name: b"XYZ \0\0\0\0" + s15(*columns[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return icc(b"RGB ", colours | {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")})


SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + s15(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
PROFILES = {"adobe": rgb_profile(ADOBE, gamma(2.19921875)), "p3": rgb_profile(P3, SRGB_CURVE)}


def expected(colours: np.ndarray, name: str) -> np.ndarray:
    """sRGB of colours in [0, 1] by the definitions of the spaces."""
    primaries, light = (
        (ADOBE, colours**2.19921875)
        if name == "adobe"
        else (P3, np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92))
    )
    srgb = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
    linear = np.clip(light @ np.linalg.solve(adapted(srgb), adapted(primaries)).T, 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def colours(dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*SHAPE, 3), dtype, endpoint=True)


def exif(orientation: int, order: str = ">") -> bytes:
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return b"Exif\0\0" + mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


class TestProfiles:
    @pytest.mark.parametrize("name", PROFILES)
    def test_rgb(self, name: str, tmp_path: Path) -> None:
        Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=PROFILES[name])
        found = to_float(read_image(tmp_path / "a.png"))
        assert np.abs(found - expected(colours() / 255, name)).max() < 2.5 / 255

    @pytest.mark.parametrize("name", PROFILES)
    def test_sixteen_bits_stay_so(self, name: str, tmp_path: Path) -> None:
        image = np.dstack([colours(np.uint16), np.full(SHAPE, 700, np.uint16)])
        write_image(tmp_path / "a.png", image)
        data = (tmp_path / "a.png").read_bytes()
        profile = chunk(b"iCCP", b"own\0\0" + zlib.compress(PROFILES[name]))
        (tmp_path / "a.png").write_bytes(data[:33] + profile + data[33:])
        found = read_image(tmp_path / "a.png")
        assert found.dtype == np.uint16 and (found[..., 3] == 700).all()
        assert np.abs(found[..., :3] / 65535 - expected(image[..., :3] / 65535, name)).max() < 0.001
        assert len(np.unique(found[..., :3] & 255)) > 200

    def test_srgb_by_another_name_stays_to_the_bit(self, tmp_path: Path) -> None:
        for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"damaged", PROFILES["p3"][:300]):
            Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profile)
            assert np.array_equal(read_image(tmp_path / "a.png"), colours())

    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_grey(self, suffix: str, tmp_path: Path) -> None:
        ramp = np.tile(np.arange(0, 256, dtype=np.uint8), (16, 1))
        Image.fromarray(ramp).save(tmp_path / f"a.{suffix}", icc_profile=icc(b"GRAY", {b"kTRC": gamma(1)}), quality=100)
        found = read_image(tmp_path / f"a.{suffix}")
        linear = ramp / 255
        encoded = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
        assert found.shape[2] == 1 and np.abs(found[..., 0] / 255 - encoded).mean() < 2 / 255

    def test_of_another_kind_of_picture_is_ignored(self, tmp_path: Path) -> None:
        Image.fromarray(colours()[..., 0]).save(tmp_path / "a.png", icc_profile=PROFILES["adobe"])
        assert np.array_equal(read_image(tmp_path / "a.png")[..., 0], colours()[..., 0])

    def test_curves(self) -> None:
        stored = np.linspace(0, 1, 65536)
        table = b"curv\0\0\0\0" + struct.pack(">I3H", 3, 0, 16384, 65535)
        for curve, wanted in (
            (b"curv" + bytes(8), stored),
            (gamma(2), stored**2),
            (table, np.interp(stored, [0, 0.5, 1], [0, 0.25, 1])),
            (b"para\0\0\0\0\0\0\0\0" + s15(2), stored**2),
            (b"para\0\0\0\0\0\1\0\0" + s15(2, 2, -1), np.where(stored >= 0.5, (2 * stored - 1) ** 2, 0)),
            (b"para\0\0\0\0\0\2\0\0" + s15(2, 0.5, -0.25, 0.5), np.where(stored >= 0.5, (stored / 2 - 0.25) ** 2, 0) + 0.5),
            (
                b"para\0\0\0\0\0\4\0\0" + s15(1, 0.5, 0, 0.5, 0.5, 0.25, 0),
                np.where(stored >= 0.5, 0.5 * stored + 0.25, 0.5 * stored),
            ),
        ):
            found = tone_curve(icc(b"GRAY", {b"kTRC": curve}), b"kTRC")
            assert found is not None and np.abs(found - wanted).max() < 1e-3
        assert tone_curve(icc(b"GRAY", {b"kTRC": table[:-2]}), b"kTRC") is None and tone_curve(b"", b"kTRC") is None

    def test_inks(self, tmp_path: Path) -> None:
        """A press without black: each ink takes its colour away, as a table of a profile says (a profile of two nodes each)."""
        stream = io.BytesIO()
        inks = np.zeros((*SHAPE, 4), np.uint8)
        inks[:, :10, 0], inks[:, 10:20, 1], inks[:, 20:, 3] = 255, 255, 255
        Image.fromarray(inks, "CMYK").save(stream, "JPEG", quality=100, icc_profile=press())
        (tmp_path / "a.jpg").write_bytes(stream.getvalue())
        found = read_image(tmp_path / "a.jpg")
        assert found.shape == (*SHAPE, 3)
        assert np.abs(found[:, 3].astype(int) - found[:, 6]).max() < 4
        assert found[10, 25].max() < 60  # black ink, 20 % of the light in Lab


def press() -> bytes:
    """A profile of inks: lightness falls with their sum, no colours."""
    nodes = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).sum(0)
    lightness = np.where(nodes == 0, 100, np.where(nodes == 1, 20, 0))
    table = np.stack([lightness / 100 * 65280, np.full(16, 32768), np.full(16, 32768)], 1).astype(">u2").tobytes()
    line = struct.pack(">2H", 0, 65535)
    body = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack(">2H", 2, 2)
    data = icc(b"CMYK", {b"A2B0": body + line * 4 + table + line * 3})
    return data[:12] + b"prtr" + data[16:20] + b"Lab " + data[24:]


class TestOrientation:
    @pytest.mark.parametrize("turn", range(1, 9))
    @pytest.mark.parametrize("suffix", ["jpg", "png"])
    def test_as_pillow_turns(self, turn: int, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"00000.{suffix}"
        Image.fromarray(cv2.GaussianBlur(colours(), (0, 0), 3)).save(path, exif=exif(turn, "<" if turn % 2 else ">"))
        with Image.open(path) as image:
            wanted = np.asarray(ImageOps.exif_transpose(image))
        found = read_image(path)
        assert np.abs(found.astype(int) - wanted).max() <= 2 and picture_header(path).size == wanted.shape[:2]
        (tmp_path / f"00001.{suffix}").write_bytes(path.read_bytes())
        source = open_source(tmp_path)
        assert (source.height, source.width) == wanted.shape[:2] and np.array_equal(next(source.read([0, 1])), found)

    def test_behind_the_pixels_of_a_png(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", colours())
        data = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(data[:-12] + chunk(b"eXIf", exif(6)[6:]) + data[-12:])
        assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(colours(), -1))

    def test_numbers_of_a_palette_turn_with_it(self, tmp_path: Path) -> None:
        numbers = np.random.default_rng(0).integers(0, 3, SHAPE, np.uint8)
        image = Image.frombytes("P", SHAPE[::-1], numbers.tobytes())
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        image.save(tmp_path / "a.png", exif=exif(6), transparency=b"\xff\x00\xff")
        found, palette = read_numbers(tmp_path / "a.png")
        assert np.array_equal(found, np.rot90(numbers, -1)) and palette[1].tolist() == [0, 255, 0, 0]
        assert np.array_equal(palette[found], read_image(tmp_path / "a.png", mode="rgba"))

    def test_a_palette_picture_whose_pixels_are_damaged(self, tmp_path: Path) -> None:
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, 3, 0, 0, 0)) + chunk(b"PLTE", bytes(9))
        (tmp_path / "a.png").write_bytes(SIGNATURE + head + chunk(b"IDAT", b"no deflated data") + chunk(b"IEND"))
        with pytest.raises(UserError, match=r"a\.png is not a readable image"):
            read_numbers(tmp_path / "a.png")

    @pytest.mark.parametrize("data", [b"", b"Exif\0\0", exif(9), exif(6)[:20], exif(6)[:6] + b"MM\0*\xff\xff\xff\xff"])
    def test_nonsense_is_upright(self, data: bytes, tmp_path: Path) -> None:
        Image.fromarray(colours()).save(tmp_path / "a.png", exif=data)
        assert np.array_equal(read_image(tmp_path / "a.png"), colours())


HIDDEN = {
    "RGBA": np.dstack([np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4), np.uint8)]),
    "RGBA16": np.dstack([np.full((4, 4, 3), 50000, np.uint16), np.zeros((4, 4), np.uint16)]),
}


@pytest.mark.parametrize("kind", ["RGBA", "RGBA16", "LA", "P", "L", "RGB"])
def test_what_alpha_hides_does_not_show(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if kind in HIDDEN:
        write_image(path, HIDDEN[kind])
    elif kind == "LA":
        Image.fromarray(HIDDEN["RGBA"]).convert("LA").save(path)
    else:
        given = Image.fromarray(HIDDEN["RGBA"][..., :3]).convert(kind)
        given.save(path, transparency={"P": bytes(256), "L": 200, "RGB": (200, 200, 200)}[kind])
    shown = read_image(path, mode="rgb")
    assert shown.shape == (4, 4, 3) and not shown.any()
    assert (over_white(read_image(path)) == np.iinfo(shown.dtype).max).all()
