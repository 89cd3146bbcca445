"""Atomic writes, images, JSON, digests and stamps."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from atlas.errors import UserError
from atlas.storage.arrays import GrowingArray, StoredArray, growing_arrays
from atlas.storage.atomic import atomic_file, atomic_folder
from atlas.storage.images import read_image, to_8_bit, to_16_bit, to_float, to_uint8, to_uint16, with_channels, write_image
from atlas.storage.stamps import digest, is_up_to_date, read_json, read_stamp, write_json, write_stamp
from atlas.storage.tensors import save_tensors


class TestAtomicFile:
    def test_appears_only_when_the_block_ends_well(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder é" / "a.txt"
        with atomic_file(path) as temporary:
            temporary.write_text("done")
            assert not path.exists()
            assert temporary.suffix == ".txt" and temporary.parent == path.parent
        assert path.read_text() == "done"
        assert [p.name for p in path.parent.iterdir()] == ["a.txt"]

    def test_a_failure_keeps_what_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
    def test_others_may_read_it(self, tmp_path: Path) -> None:
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


class TestAtomicFolder:
    @pytest.mark.parametrize("moment", ["replace", "rmtree"])
    def test_a_run_killed_while_it_replaces_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        path = tmp_path / "out"
        path.mkdir()
        (path / "a").write_text("old")
        (path / "b").write_text("old")

        class Killed(BaseException): ...

        real = Path.replace

        def killed_at_the_last_renaming(source: Path, target: Path) -> Path:
            if target == path:
                raise Killed
            return real(source, target)

        def killed_half_way(folder: Path, **_: object) -> None:
            (folder / "a").unlink(missing_ok=True)
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed), atomic_folder(path) as making:
            (making / "a").write_text("new")
            (making / "b").write_text("new")
            if moment == "replace":
                patch.setattr(Path, "replace", killed_at_the_last_renaming)
            patch.setattr("atlas.storage.atomic.shutil.rmtree", killed_half_way)
        if path.exists():  # whole, old or new
            assert len({(path / name).read_text() for name in "ab"}) == 1
        with pytest.raises(ZeroDivisionError), atomic_folder(path):
            raise ZeroDivisionError
        assert len({(path / name).read_text() for name in "ab"}) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["out"]

    def test_replaces_the_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.mkdir()
        (path / "old").write_text("1")
        with atomic_folder(path) as making:
            (making / "new").write_text("2")
            assert (path / "old").exists()
        assert [p.name for p in path.iterdir()] == ["new"]
        assert [p.name for p in tmp_path.iterdir()] == ["out"]

    def test_a_failure_keeps_what_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.mkdir()
        (path / "old").write_text("1")
        with pytest.raises(ZeroDivisionError), atomic_folder(path) as making:
            (making / "new").write_text("2")
            raise ZeroDivisionError
        assert [p.name for p in path.iterdir()] == ["old"]
        assert [p.name for p in tmp_path.iterdir()] == ["out"]

    @pytest.mark.parametrize("name", ["out", "out [1]"])
    def test_sweeps_up_after_a_killed_run(self, tmp_path: Path, name: str) -> None:
        left_over = tmp_path / f".{name}-making-killed"
        left_over.mkdir()
        other = tmp_path / f".{name}er-making-killed"
        other.mkdir()
        with atomic_folder(tmp_path / name):
            pass
        assert not left_over.exists() and other.exists()


class TestImages:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_round_trip(self, tmp_path: Path, dtype: type, channels: int) -> None:
        image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 9, channels), dtype=dtype, endpoint=True)
        path = tmp_path / "ä b.png"
        write_image(path, image[..., 0] if channels == 1 else image)
        assert np.array_equal(read_image(path), image)
        assert read_image(path).dtype == dtype

    def test_red_is_the_first_channel(self, tmp_path: Path) -> None:
        red = np.zeros((4, 4, 3), np.uint8)
        red[..., 0] = 255
        write_image(tmp_path / "red.png", red)
        assert cv2.imread(str(tmp_path / "red.png"))[0, 0].tolist() == [0, 0, 255]  # OpenCV: blue, green, red
        assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]

    def test_floats_become_eight_bits(self, tmp_path: Path) -> None:
        write_image(tmp_path / "f.png", np.array([[0.0, 0.5, 1.0, 7.0, -1.0]]))
        assert read_image(tmp_path / "f.png")[0, :, 0].tolist() == [0, 128, 255, 255, 0]

    def test_a_jpeg_is_written_without_a_word(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        grey = np.full((16, 16, 3), 90, np.uint8)
        write_image(tmp_path / "a.jpg", grey)
        assert capfd.readouterr().err == ""  # OpenCV complains of settings of other formats
        assert (tmp_path / "a.jpg").read_bytes()[:2] == b"\xff\xd8"
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - 90).max() <= 1

    def test_modes(self, tmp_path: Path) -> None:
        write_image(tmp_path / "grey.png", np.full((2, 2), 7, np.uint8))
        assert read_image(tmp_path / "grey.png", mode="rgb")[0, 0].tolist() == [7, 7, 7]
        assert read_image(tmp_path / "grey.png", mode="rgba")[0, 0].tolist() == [7, 7, 7, 255]
        for alpha, shown in ((65535, 900), (0, 0), (32768, 450)):  # over black
            write_image(tmp_path / "deep.png", np.array([[[900, 900, 900, alpha]]], np.uint16))
            assert read_image(tmp_path / "deep.png", mode="rgb")[0, 0].tolist() == [shown] * 3

    def test_an_opaque_alpha_has_the_depth_of_the_image(self) -> None:
        assert with_channels(np.zeros((1, 1, 3), np.uint16), 4)[0, 0].tolist() == [0, 0, 0, 65535]

    def test_damaged_inside(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        write_image(tmp_path / "a.png", noise)
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[len(data) // 2] ^= 0xFF
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(UserError, match=r"a\.png is damaged inside"):
            read_image(tmp_path / "a.png")
        assert capfd.readouterr().err == ""  # the decoder's own complaint would be a second line of the error

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    def test_truncated(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(UserError, match=r"a\.(png|jpg) is truncated"):
            read_image(path)

    @pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\nIEND"])
    def test_no_image(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match="a.png is not a readable image"):
            read_image(tmp_path / "a.png")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="nowhere.png is missing"):
            read_image(tmp_path / "nowhere.png")

    def test_conversions_round_to_nearest(self) -> None:
        steps = np.arange(256, dtype=np.uint8)
        assert np.array_equal(to_uint8(to_float(steps)), steps)
        deep = np.arange(65536, dtype=np.uint16)
        assert np.array_equal(to_uint16(to_float(deep)), deep)
        assert to_uint8(np.array([0.4 / 255, 0.6 / 255])).tolist() == [0, 1]


class TestJson:
    def test_round_trip(self, tmp_path: Path) -> None:
        value = {"é": [1, 2.5, None, "x"], "path": Path("a/b")}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == {"é": [1, 2.5, None, "x"], "path": str(Path("a/b"))}

    @pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00"])
    def test_broken(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(UserError, match="a.json is not valid JSON"):
            read_json(tmp_path / "a.json")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="a.json is missing"):
            read_json(tmp_path / "a.json")


class TestDigest:
    def test_follows_content_not_time(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1")
        before = digest(tmp_path, {"x": 1})
        os.utime(tmp_path / "a", (1, 1))
        assert digest(tmp_path, {"x": 1}) == before
        (tmp_path / "a").write_text("2")
        assert digest(tmp_path, {"x": 1}) != before

    def test_sees_names_order_and_values(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("1")
        before = digest(tmp_path)
        (tmp_path / "a").rename(tmp_path / "b")
        assert digest(tmp_path) != before
        assert digest("a", "b") != digest("b", "a") != digest("ba")
        assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})

    def test_sees_a_file_move_from_one_folder_to_the_next(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1", tmp_path / "2"
        for folder, name in ((first, "a"), (first, "b"), (second, "c")):
            write_json(folder / name, name)
        before = digest(first, second)
        (first / "b").rename(second / "b")
        assert digest(first, second) != before

    def test_hidden_files_do_not_count(self, tmp_path: Path) -> None:
        before = digest(tmp_path)
        (tmp_path / ".temporary").write_text("1")
        assert digest(tmp_path) == before


class TestStamps:
    def test_each_stage_has_its_own(self, tmp_path: Path) -> None:
        assert read_stamp(tmp_path) == {}
        assert not is_up_to_date(tmp_path, "abc")
        write_stamp(tmp_path, "abc")
        write_stamp(tmp_path, "def", stage="render")
        assert is_up_to_date(tmp_path, "abc") and is_up_to_date(tmp_path, "def", stage="render")
        assert not is_up_to_date(tmp_path, "other")

    @pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"made_from": 3}'])
    def test_a_damaged_stamp_is_none(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "stamp.json").write_bytes(content)
        assert not is_up_to_date(tmp_path, "abc")


class TestGrowingArray:
    def test_is_a_numpy_file(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (3, 4, 5), dtype=np.uint8)
        array = GrowingArray(tmp_path / "new" / "a.npy", np.uint8, (3, 4, 5))
        for value in values:
            array.append(value)
        array.close()
        assert np.array_equal(np.load(tmp_path / "new" / "a.npy", mmap_mode="r"), values)

    def test_an_error_closes_it_and_stays_the_one_that_is_told(self, tmp_path: Path) -> None:
        opened: list[GrowingArray] = []
        with pytest.raises(KeyError, match="mine"), growing_arrays(*[(tmp_path / n, np.uint8, (3, 2)) for n in "ab"]) as arrays:
            opened += arrays
            arrays[0].append(np.zeros(2))
            raise KeyError("mine")
        assert len(opened) == 2
        for array in opened:
            with pytest.raises(ValueError, match="closed file"):
                array.append(np.zeros(2))
        with pytest.raises(ValueError, match="3 rows of 3 were not written"), GrowingArray(tmp_path / "c", np.uint8, (3, 2)):
            pass


class TestStoredArray:
    def test_rows_are_what_was_saved(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).astype(np.float16)
        np.save(tmp_path / "a.npy", values)
        array = StoredArray(tmp_path / "a.npy")
        assert (array.shape, array.dtype) == (values.shape, values.dtype)
        picked = (np.array([1, 3]), np.array([0, 2]))
        for index in (4, 0, 2, -1, slice(1, 3), picked):
            np.testing.assert_array_equal(array[index], values[index])
        for index in (-6, 5):
            with pytest.raises(IndexError):
                array[index]

    def test_it_reads_what_grew(self, tmp_path: Path) -> None:
        growing = GrowingArray(tmp_path / "a.npy", np.uint16, (3, 2))
        for row in range(3):
            growing.append(np.full(2, row))
        growing.close()
        assert StoredArray(tmp_path / "a.npy")[2].tolist() == [2, 2]

    def test_what_it_refuses(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, np.zeros((6, 100)))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(EOFError, match="cut off"):
            StoredArray(path)
        np.save(path, np.array([[{}]], object), allow_pickle=True)
        with pytest.raises(ValueError, match="row by row"):
            StoredArray(path)
        np.save(path, np.asfortranarray(np.zeros((3, 2))))
        with pytest.raises(ValueError, match="row by row"):
            StoredArray(path)
        path.write_bytes(b"something else")
        with pytest.raises(ValueError):
            StoredArray(path)


def test_16_bits_become_8_rounded_to_nearest_and_come_back() -> None:
    every = np.arange(65536).astype(np.uint16)
    np.testing.assert_array_equal(to_8_bit(every), np.round(np.arange(65536) / 257))
    eight = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(to_8_bit(to_16_bit(eight)), eight)
    assert to_16_bit(eight)[-1] == 65535
    assert to_8_bit(eight) is eight and to_16_bit(every) is every


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_what_is_written_is_for_others_to_read_too(tmp_path: Path) -> None:
    """Also what safetensors writes, by itself for its maker alone: a colleague renders what somebody else merged."""
    save_tensors(tmp_path / "state.safetensors", {"a": torch.zeros(1)}, {})
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.iterdir())] == [0o644, 0o644]
