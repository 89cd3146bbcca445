"""Stamps: the same stamps are the same bytes, whoever came first."""

from __future__ import annotations

from pathlib import Path

from atlas.storage.stamps import STAMP, read_stamp, write_stamp


def test_threads_may_come_in_any_order(tmp_path: Path) -> None:
    for folder, names in ((tmp_path / "a", "xyz"), (tmp_path / "b", "zxy")):
        folder.mkdir()
        for name in names:
            write_stamp(folder, f"made from {name}", name)
    assert (tmp_path / "a" / STAMP).read_bytes() == (tmp_path / "b" / STAMP).read_bytes()
    assert read_stamp(tmp_path / "a") == {name: f"made from {name}" for name in "xyz"}
