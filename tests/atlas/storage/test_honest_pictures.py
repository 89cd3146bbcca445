"""Pictures that only look as if they were made to harm: each is read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from atlas.storage.bounds import LARGEST_SIDE
from atlas.storage.images import read_image, write_image
from atlas.storage.pictures import WantedSize, picture_bytes, picture_header
from tests.atlas.storage.hostile import SIGNATURE, chunk, jpeg, photo, png, zeros


class TestHonestPictures:
    """What is read is what the decoder gives for the untouched file, and headers say what that is."""

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
    @pytest.mark.parametrize("texts", [False, True])
    def test_png(self, mode: str, texts: bool, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        if mode == "I;16":
            write_image(path, photo().astype(np.uint16) * 200)
        else:
            Image.fromarray(photo(3)).convert("RGBA" if mode == "LA" else "RGB").convert(mode).save(path)
        data = path.read_bytes()
        if texts:
            beside = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"zTXt", b"Comment\0\0" + zeros(5000))
            data = data[:33] + beside + data[33:]
            path.write_bytes(data)
        self.compare(path, data)

    @pytest.mark.parametrize(("depth", "kind"), [(1, 0), (2, 0), (4, 0), (2, 3), (4, 3)])
    def test_few_bits(self, depth: int, kind: int, tmp_path: Path) -> None:
        rows = b"".join(b"\0" + np.random.default_rng(y).bytes(-(-30 * depth // 8)) for y in range(20))
        palette = chunk(b"PLTE", bytes(range(3 * 2**depth))) if kind == 3 else b""
        data = png(30, 20, depth=depth, kind=kind, pixels=zlib.compress(rows), beside=palette)
        (tmp_path / "a.png").write_bytes(data)
        self.compare(tmp_path / "a.png", data)

    @pytest.mark.parametrize("kind", [0, 2, 3])
    def test_transparent_colours(self, kind: int, tmp_path: Path) -> None:
        width = 90 if kind == 2 else 30
        rows = b"".join(b"\0" + (np.random.default_rng(y).integers(0, 4, width, np.uint8)).tobytes() for y in range(20))
        beside = (chunk(b"PLTE", bytes(range(12))) if kind == 3 else b"") + chunk(b"tRNS", b"\0\x01" * (3 if kind == 2 else 1))
        data = png(30, 20, kind=kind, pixels=zlib.compress(rows), beside=beside)
        (tmp_path / "a.png").write_bytes(data)
        if kind == 0:  # OpenCV shows what is transparent; Pillow knows better
            with Image.open(io.BytesIO(data)) as image:
                assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGBA")))
            return
        self.compare(tmp_path / "a.png", data)

    def test_interlaced(self, tmp_path: Path) -> None:
        image = photo()
        passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in image[y::dy, x::dx])
        head = struct.pack(">IIBBBBB", 30, 20, 8, 0, 0, 0, 1)
        data = SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
        (tmp_path / "a.png").write_bytes(data)
        assert np.array_equal(read_image(tmp_path / "a.png")[..., 0], image)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"icc_profile": b"x" * 200_000}])
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_jpeg(self, mode: str, options: dict[str, object], tmp_path: Path) -> None:
        stream = io.BytesIO()
        Image.fromarray(photo(3)).convert(mode).save(stream, "JPEG", **options)
        (tmp_path / "a.jpg").write_bytes(stream.getvalue())
        self.compare(tmp_path / "a.jpg", stream.getvalue())

    def test_jpeg_with_a_thumbnail_and_bytes_between_its_parts(self, tmp_path: Path) -> None:
        plain, small = jpeg(photo(3)), jpeg(photo(3)[:8, :8])
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + b"junk\xff\xff" + plain[3:]
        (tmp_path / "a.jpg").write_bytes(data)
        self.compare(tmp_path / "a.jpg", plain)

    def compare(self, path: Path, data: bytes) -> None:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        wanted = stored[:, :, None] if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]]
        found, header = read_image(path), picture_header(path)
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
        assert header.size == found.shape[:2] == (20, 30) and header.decoded >= min(found.nbytes, 20 * 30 * 3)
        assert np.array_equal(read_image(path, size=WantedSize(20, 30, "it is", "leave it")), wanted)

    def test_the_largest_side_is_read(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", np.zeros((1, LARGEST_SIDE), np.uint8))
        assert read_image(tmp_path / "a.png").shape == (1, LARGEST_SIDE, 1)
        assert picture_bytes(tmp_path / "a.png")[0] == (tmp_path / "a.png").read_bytes()
