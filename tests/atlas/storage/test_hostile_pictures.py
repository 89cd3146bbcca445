"""Pictures that were made to harm: each is refused in one line that names it, quickly, and without taking memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from atlas.clip.clip import Clip
from atlas.clip.keep import read_keep
from atlas.maps.maps import Maps
from atlas.storage.arrays import StoredArray
from atlas.storage.images import read_image, write_image
from atlas.storage.pictures import picture_bytes, picture_header
from atlas.storage.tensors import load_tensors
from atlas.video.numbered import NumberedImages
from atlas.video.source import open_source
from edit.editors.placing import check_placeable
from tests.atlas.storage.hostile import (
    MOST,
    ROOT,
    chunk,
    decoding_costs,
    jpeg,
    photo,
    png,
    refusal,
    short,
    with_size,
    zeros,
)


class TestPictures:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (png(30000, 30000), "30000x30000: pictures are read up to 16384 pixels a side"),
            (png(2**31 - 1, 1), "pictures are read up to 16384"),
            (png(16384, 16384), "805 MB once decoded"),
            (png(6000, 6000, depth=16, kind=6), "288 MB once decoded"),
            (png(0, 5), "not a readable image"),
            (png(5, 5, depth=7), "not a readable image"),
            (png(5, 5, kind=5), "not a readable image"),
            (png(5, 5)[:20], "not a readable image"),
            (png(5, 5, pixels=bytes(1 << 25)), "its file far larger than that needs"),
            (png(5, 5, beside=chunk(b"acTL", bytes(8))), "is an animated PNG"),
            (png(8000, 8000, beside=chunk(b"aaAa") * (1 << 18)), "too many pieces"),
            (with_size(jpeg(photo(3)), 30000, 30000), "up to 16384 pixels a side"),
            (with_size(jpeg(photo(3)), 30, 0), "not a readable image"),
            (with_size(jpeg(photo(3), progressive=True), 7000, 7000), "scans, which takes too much to decode"),
            (jpeg(photo(3), progressive=True)[:-2] + b"\xff\xda\0\x08\1\1\0\0\0\0" * 100 + b"\xff\xd9", "110 scans"),
            (b"\xff\xd8\xff" + b"\xff" * 10_000_000, "not a readable image"),
            (b"II*\0" + bytes(1000), "not a readable image"),
            (b"P6 30000 30000 255\n" + bytes(100), "not a readable image"),
            (b"GIF89a" + bytes(100), "not a readable image"),
            (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(100), "not a readable image"),
        ],
        ids=short,
    )
    def test_refused_by_their_headers(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(content)
        assert message in refusal(lambda: read_image(tmp_path / "a.png"), "a.png")

    @pytest.mark.parametrize("suffix", [".tiff", ".bmp", ".webp", ".gif", ".ppm"])
    def test_other_formats_under_a_png_s_name(self, suffix: str, tmp_path: Path) -> None:
        done, data = cv2.imencode(suffix, photo(3))
        assert done
        (tmp_path / "a.png").write_bytes(data.tobytes())
        assert "export it again as PNG or JPEG" in refusal(lambda: read_image(tmp_path / "a.png"), "a.png")

    def test_a_file_without_an_end_is_not_read(self, tmp_path: Path) -> None:
        for name, start in (("a.png", png(20, 20)[:-12]), ("a.jpg", jpeg(photo(3))[:-2])):
            with (tmp_path / name).open("wb") as stream:
                stream.write(start)
                stream.truncate(3 << 30)  # a hole
            assert "far larger than that needs" in refusal(lambda name=name: read_image(tmp_path / name), name)

    def test_nor_is_what_stands_behind_its_end(self, tmp_path: Path) -> None:
        """A phone's film of the moment may; and what a screenshot was before it was cropped."""
        for name, start in (("a.png", png(20, 20, pixels=zeros(20 * 21))), ("a.jpg", jpeg(photo(3)))):
            (tmp_path / name).write_bytes(start)
            alone = read_image(tmp_path / name)
            with (tmp_path / name).open("ab") as stream:
                stream.write(start[len(start) // 2 :] + b"\xff\xda" * 100 + b"ftypmp42")
                stream.truncate(3 << 30)  # a hole
            assert np.array_equal(read_image(tmp_path / name), alone) and picture_bytes(tmp_path / name)[0] == start

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
    def test_a_pipe_does_not_wait(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")
        assert "is no ordinary file" in refusal(lambda: read_image(tmp_path / "a.png"), "a.png")
        with pytest.raises(ValueError):
            StoredArray(tmp_path / "a.png")
        refusal(lambda: load_tensors(tmp_path / "a.png"), "a.png")

    def test_what_they_cost(self, tmp_path: Path) -> None:
        """A bomb of pixels, the largest that is read; and of texts, which decoders would unpack to 8 MB each."""
        assert decoding_costs(png(30000, 30000, pixels=zeros(1 << 20)), tmp_path) < 50
        text = chunk(b"zTXt", b"Comment\0\0" + zeros(7_500_000))
        small = png(20, 20, pixels=zeros(20 * 21), beside=text * 200)
        assert decoding_costs(small, tmp_path) < 100
        assert read_image(tmp_path / "a.png").shape == (20, 20, 1)
        assert decoding_costs(png(8100, 8100, kind=2, pixels=zeros(8100 * 24301)), tmp_path) < 700

    def test_those_who_know_the_size_refuse_before_decoding(self, fresh_clip: Clip, tmp_path: Path) -> None:
        """The pixels are not there at all: whoever decoded would find the file damaged, not of another size."""
        clip, maps = fresh_clip, Maps(fresh_clip.fit_folder("truth"))
        large = png(5000, 4000, depth=16, kind=6)
        for path, act in (
            (clip.frame_path(1), lambda: clip.frame(1)),
            (clip.mask_path("foreground", 1), lambda: clip.mask("foreground", 1)),
        ):
            path.write_bytes(large)
            assert "is 5000x4000, the clip is 96x64: run scripts/prepare.py again" in refusal(act, path.name)
        (tmp_path / "00003.png").write_bytes(large)
        images = NumberedImages(tmp_path, 96, 64, "--images")
        assert "the clip's frames are 96x64" in refusal(lambda: images.read(3), "00003.png")
        atlas = maps.atlas_path("foreground")
        assert "paint the mask at" in refusal(lambda: read_keep(tmp_path / "00003.png", atlas, (100, 100)), "00003.png")
        (tmp_path / "00003.png").write_bytes(png(5000, 5000, depth=16, kind=6))
        header = picture_header(tmp_path / "00003.png")
        assert "4096 pixels a side" in refusal(
            lambda: check_placeable(header, tmp_path / "00003.png", maps, "foreground"), "00003.png"
        )
        atlas.write_bytes(png(5000, 5000, kind=6))
        assert "at most 4096" in refusal(lambda: Maps(fresh_clip.fit_folder("truth")).atlas("foreground"), "atlas.png")

    def test_frames_and_the_first_of_a_folder(self, tmp_path: Path) -> None:
        write_image(tmp_path / "1.png", photo(3))
        (tmp_path / "2.png").write_bytes(png(5000, 4000, depth=16, kind=6))
        source = open_source(tmp_path)
        assert "is 5000x4000, 1.png is 30x20" in refusal(lambda: list(source.read([0, 1])), "2.png")
        (tmp_path / "1.png").write_bytes(png(16384, 16384))
        assert "once decoded" in refusal(lambda: open_source(tmp_path), "1.png")

    def test_a_command_refuses_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "keep.png").write_bytes(png(30000, 30000, pixels=zeros(1 << 24)))
        command = [sys.executable, str(ROOT / "scripts" / "run.py"), str(tmp_path / "v.mp4"), str(tmp_path / "clip")]
        command += ["--editor", "filter", "--filter", "invert", "--keep", str(tmp_path / "keep.png")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"error: {tmp_path / 'keep.png'} is 30000x30000")


def test_a_painted_image_is_not_decoded_before_its_size_is_looked_at(fresh_clip: Clip, tmp_path: Path) -> None:
    """An image that may be read elsewhere, 197 MB once decoded, where one of the atlas's size is wanted."""
    resource = pytest.importorskip("resource")
    (tmp_path / "paint.png").write_bytes(png(8100, 8100, kind=2, pixels=zeros(8100 * 24301)))
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from atlas.errors import UserError; from edit.editors import EditOptions; from edit.stage import edit\n"
        + MOST
        + "before = most()\n"
        "try: edit(EditOptions(clip=Path(sys.argv[1]), name='x', layer='foreground', fit='truth', editor='atlas',"
        " image=Path(sys.argv[2])))\n"
        "except UserError as problem: print(problem, file=sys.stderr)\n"
        "print(round(most() - before))"
    )
    arguments = [sys.executable, "-c", program, str(fresh_clip.folder), str(tmp_path / "paint.png")]
    done = subprocess.run(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60)
    assert "paint.png is 8100x8100" in done.stderr and int(done.stdout) < 150 and resource is not None
