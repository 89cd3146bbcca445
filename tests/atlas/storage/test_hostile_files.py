"""Binary files that were made to harm: each is refused in one line that names it, quickly, and without taking memory."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from atlas.clip.clip import Clip
from atlas.clip.keep import read_keep
from atlas.errors import UserError
from atlas.fitting.presets import FitConfig
from atlas.fitting.run import FitRun
from atlas.maps.maps import Maps
from atlas.metrics.lpips import Lpips
from atlas.model.checkpoint import load_model, load_nla_model, open_model
from atlas.model.fields import NetworkConfig
from atlas.model.nla_config import published_config
from atlas.nla.files import read_networks
from atlas.quality.job import FitJob
from atlas.storage.arrays import StoredArray
from atlas.storage.bounds import LARGEST_SIDE
from atlas.storage.images import read_image, write_image
from atlas.storage.pictures import WantedSize, picture_bytes, picture_header
from atlas.storage.run_state import save_state
from atlas.storage.stamps import write_json
from atlas.storage.tensors import load_tensors
from atlas.video.numbered import NumberedImages
from atlas.video.source import open_source
from edit.editors.placing import check_placeable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ROOT = Path(__file__).resolve().parents[3]


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int = 8, kind: int = 0, pixels: bytes = b"", beside: bytes = b"") -> bytes:
    """A PNG whose checksums are right, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + beside + chunk(b"IDAT", pixels) + chunk(b"IEND")


def zeros(count: int) -> bytes:
    """So many zeros, deflated, a thousandth as long."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)] + [packer.compress(bytes(count & 0xFFFFF))]
    return b"".join([*parts, packer.flush()])


def jpeg(image: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says another size."""
    at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def photo(*channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, *channels), np.uint8)


def short(value: object) -> str | None:
    """How a test is called that is given a file's content: not by all of it."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else None


def refusal(act: Callable[[], object], name: str) -> str:
    """The one line that refuses the file."""
    began = time.perf_counter()
    with pytest.raises(UserError) as caught:
        act()
    assert time.perf_counter() - began < 10
    assert "\n" not in str(caught.value) and name in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


MOST = """
def most():  # MB; what getrusage says of a young process is that of the one that started it
    if sys.platform == "linux":
        return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
"""


def decoding_costs(data: bytes, tmp_path: Path) -> int:
    """MB that a process takes beyond its modules to read a picture, or to refuse it."""
    resource = pytest.importorskip("resource")
    assert resource is not None
    (tmp_path / "a.png").write_bytes(data)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from atlas.errors import UserError; from atlas.storage.images import read_image\n" + MOST + "before = most()\n"
        "try: read_image(Path(sys.argv[1]), mode='rgba')\n"
        "except UserError as problem: print(problem, file=sys.stderr)\n"
        "print(round(most() - before))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


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


def npy(header: str | bytes, content: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    size = len(text) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + content


def fields(descr: str = "'|u1'", shape: str = "(2, 3)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    "content",
    [
        npy("", version=2, length=0xFFFFFFFF),
        npy(b"{" * 900),
        npy(b"(" * 60_000),
        npy(b"-" * 900 + b"1"),
        npy(fields(shape=f"({'9' * 5000}, 2)")),
        npy(fields(shape=f"({'9' * 15}, {'9' * 15}, {'9' * 15})")),
        npy(fields(shape="(-2, 3)"), bytes(10)),
        npy(fields(shape="(True, 3)"), bytes(10)),
        npy(fields(shape="()"), bytes(10)),
        npy(fields("'|O'"), bytes(100)),
        npy(fields("[('a', '<f4')]"), bytes(100)),
        npy(fields("'|V5'"), bytes(100)),
        npy(fields("'<Q7'"), bytes(100)),
        npy(fields(order="True"), bytes(100)),
        npy(fields(), bytes(5)),
        b"\x93NUMPY\x03\0" + bytes(200),
    ],
    ids=short,
)
def test_array_headers(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises((ValueError, EOFError)):
        StoredArray(path)
    assert time.perf_counter() - began < 1


def test_a_header_as_long_as_its_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        stream.write(npy("", version=2, length=3 << 30))
        stream.truncate(4 << 30)
    with pytest.raises(ValueError, match="no header"):
        StoredArray(tmp_path / "a.npy")


def test_light_finer_than_the_frames(fresh_clip: Clip) -> None:
    fit = fresh_clip.fit_folder("truth")
    for array in (np.ones((12, 65, 2, 3), np.float16), np.ones((12, 0, 2, 3), np.float16), np.ones((12, 2, 2, 3), np.int8)):
        np.save(fit / "maps" / "foreground" / "light.npy", array)
        assert "has shape" in refusal(lambda: Maps(fit), "light.npy")


def tensors_file(header: object, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 99_000_000) + b"{}",
        tensors_file(b"[" * 100_000),
        tensors_file(b'{"a":' * 50_000),
        tensors_file(b'{"a": ' + b"9" * 5000 + b"}"),
        tensors_file([1, 2]),
        tensors_file({"a": 3}),
        tensors_file({"a": ONE | {"shape": [-1]}}, bytes(4)),
        tensors_file({"a": ONE | {"shape": [True]}}, bytes(4)),
        tensors_file({"a": ONE | {"shape": [1.0]}}, bytes(4)),
        tensors_file({"a": ONE | {"dtype": "C64"}}, bytes(8)),
        tensors_file({"a": ONE | {"shape": [1 << 39]}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": "[" * 100_000}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": "9" * 5000}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": {"description": 3}}, bytes(4)),
        tensors_file({"a": ONE, "__metadata__": 3}, bytes(4)),
        tensors_file({"a": ONE | {"data_offsets": [4, 0]}, "__metadata__": {"description": "{}"}}, bytes(4)),
    ],
    ids=short,
)
def test_tensor_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "no checkpoint of a fit" in refusal(lambda: load_tensors(path), path.name)
    assert path.name in refusal(lambda: Lpips(path, torch.device("cpu")), path.name)


SHAPE = {"layers": ["a", "b"], "frames": 2, "height": 20, "width": 30, "offset_grid": [2, 2], "light_grid": [2, 2]}


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 10**9},
        {"frames": 10**400},
        {"frames": True},
        {"frames": 2.0},
        {"frames": -2},
        {"height": 0, "width": 0},
        {"atlas_sizes": [1 << 20, 1 << 20]},
        {"atlas_sizes": [-1, -1]},
        {"layers": ["a"] * 100_000, "atlas_sizes": [1] * 100_000},
        {"light_grid": [2, 2, 2]},
        {"offset_grid": 3},
    ],
)
def test_descriptions_of_models(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    description = json.dumps({"shape": SHAPE | {"atlas_sizes": [8, 8]} | change})
    save_file({"atlas_0": torch.zeros(8, 8, 3)}, path, metadata={"description": description})
    refusal(lambda: load_model(path, NetworkConfig(), NetworkConfig()), path.name)
    refusal(lambda: load_nla_model(path), path.name)


@pytest.mark.parametrize(
    "change",
    [{"width": 10**9}, {"width": 64.0}, {"width": "64"}, {"depth": 10**6}, {"octaves": -1}, {"reach": float("nan")},
     {"hash": 3}, {"hash": {"levels": 2.5}}, {"encoding": "hash", "hash": {"levels": 32, "log2_entries": 24, "growth": 1.0}}],
)  # fmt: skip
def test_configs_of_networks(change: dict[str, object], tmp_path: Path) -> None:
    """The last is a hash grid that may be asked for, of gigabytes: the checkpoint does not hold it."""
    plain = json.loads(json.dumps({"width": 8, "hash": {}}))
    assert NetworkConfig.from_dict(plain) == NetworkConfig(width=8)
    write_json(tmp_path / "config.json", {"preset": "x", "mapping": plain | change, "opacity": plain})
    path = tmp_path / "checkpoint.safetensors"
    description = json.dumps({"shape": SHAPE | {"atlas_sizes": [8, 8]}})
    save_file({"atlas_0": torch.zeros(8, 8, 3)}, path, metadata={"description": description})
    refusal(lambda: open_model(tmp_path), "config.json")


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"done": 3, "epochs": 1, "log": [], "rounds": 5, "tracks": 0},
        {"done": 3, "epochs": 1, "log": [], "rounds": [], "tracks": 10**9},
        {"done": 3, "epochs": 1, "log": [], "rounds": [], "tracks": 0, "shape": SHAPE | {"atlas_sizes": [1 << 20] * 2}},
    ],
)
def test_states_of_unfinished_fits(description: dict[str, object], sample_clip: Clip, tmp_path: Path) -> None:
    save_state(tmp_path, "this run", {}, description)

    def resume() -> None:
        FitRun(FitJob(sample_clip, tmp_path, "this run", torch.device("cpu"), quiet=True), FitConfig("preview")).begin()

    assert "delete it and run scripts/fit.py again" in refusal(resume, "state.safetensors")


def test_a_header_of_countless_objects_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(tensors_file(b'{"a": [' + b"{}," * 2_000_000 + b"0]}"))
    assert "lists and objects" in refusal(lambda: load_tensors(tmp_path / "x.safetensors"), "x.safetensors")


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


NLA = published_config({"resx": 32, "resy": 32, "maximum_number_of_frames": 2})


class Bytes:
    """Unpickling it asks for three gigabytes."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (3_000_000_000,)


def overlapping(path: Path) -> None:
    """Many entries of one place in the file."""
    torch.save({"a": torch.zeros(250_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        for number in range(100):
            twin = zipfile.ZipInfo(f"{largest.filename}{number}")
            twin.header_offset, twin.file_size, twin.compress_size = largest.header_offset, largest.file_size, largest.file_size
            twin.CRC = largest.CRC
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]


def huge(path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, path)
    os.truncate(path, 3 << 30)


def listing(path: Path) -> None:
    """Nothing but a list of two million entries, of which zipfile makes as many objects."""
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    entries = b"".join(entry + b"%07d" % number for number in range(2_000_000))
    large = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 2_000_000, 2_000_000, len(entries), 0)
    large += struct.pack("<IIQI", 0x07064B50, 0, len(entries), 1)
    path.write_bytes(entries + large + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(Bytes(), path), "holds more than numbers"),
        (lambda path: torch.save({str(i): [i] for i in range(100_000)}, path), "holds more than networks"),
        (lambda path: torch.save({"a": [torch.ones(1).expand(10**6, 10**6).to_sparse_csr]}, path), "more than numbers"),
        (overlapping, "truncated or no checkpoint"),
        (huge, "truncated or no checkpoint|over 500 MB"),
        (listing, "truncated or no checkpoint"),
    ],
)
def test_checkpoints_of_torch(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write(path)
    began = time.monotonic()
    said = refusal(lambda: read_networks(path, NLA), "checkpoint")
    assert time.monotonic() - began < 5
    assert any(part in said for part in message.split("|")), said
