"""Manifests as they come from anyone: names that lead elsewhere are refused, and what is damaged is one line."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from atlas.errors import UserError
from scripts.plans.store.manifest import Entry, Manifest, is_inside, sha256

ENTRY = Entry(3, sha256(b"abc"), 5)


def stored(**changes: object) -> bytes:
    good = {"version": 1, "files": {"a/b.png": [3, sha256(b"abc"), 5]}, "empty": ["c"]}
    return json.dumps(good | changes).encode()


def test_round_trip() -> None:
    manifest = Manifest({"b": ENTRY, "a/\u00fc.png": ENTRY}, ("c",))
    read = Manifest.of(manifest.data(), "it")
    assert read.files == manifest.files and read.empty == ("c",) and read.data() == manifest.data()
    assert Manifest.of(stored(), "it").files == {"a/b.png": ENTRY}


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "", "a\\b", "C:x", "a/C:x/b", "a\nb", "a\0b", "x" * 1001, ".lease"]
    + ["a/.lease-takeover", ".walk-making-0123abcd-7-x", 3, None],
)
def test_names_that_lead_elsewhere_are_refused(name: object) -> None:
    assert not is_inside(name)
    if isinstance(name, str):
        for data in (stored(files={name: [3, sha256(b""), 5]}), stored(empty=[name])):
            with pytest.raises(UserError, match="^it (names|is damaged)"):
                Manifest.of(data, "it")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"version": 1}',
        stored()[:-9],
        stored(files=[]),
        stored(files={"a": [1, "x", 2]}),
        stored(files={"a": [-1, sha256(b""), 2]}),
        stored(files={"a": [True, sha256(b""), 2]}),
        stored(files={"a": [1, sha256(b"")]}),
        stored(empty=3),
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_none_is_one_line(data: bytes) -> None:
    with pytest.raises(UserError, match="^it is damaged: "):
        Manifest.of(data, "it")


def test_what_cannot_be_on_a_disk_is_refused() -> None:
    with pytest.raises(UserError, match="as a file and as a folder"):
        Manifest.of(stored(files={"a": [3, sha256(b""), 5], "a/b": [3, sha256(b""), 5]}), "it")
    with pytest.raises(UserError, match="as a file and as a folder"):
        Manifest.of(stored(files={"a": [3, sha256(b""), 5]}, empty=["a"]), "it")
    with pytest.raises(UserError, match="another version"):
        Manifest.of(stored(version=2), "it")


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (Manifest({"good": ENTRY, "a:1.png": ENTRY}), "^/clip/a:1.png cannot be in a store, .*: rename it"),
        (Manifest({"good": ENTRY, "a\\b": ENTRY}), "cannot be in a store"),
        (Manifest({"good": ENTRY}, ("x/a\nb",)), "cannot be in a store"),
        (Manifest({"good": ENTRY, "old": Entry(3, ENTRY.sha256, -1)}), "^/clip/old cannot be in a store"),
        (Manifest({"a": ENTRY, "a/b": ENTRY}), "^/clip, .*'a' as a file and as a folder"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(manifest: Manifest, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        manifest.checked_data(PurePosixPath("/clip"))  # type: ignore[arg-type]  # shown alike on Windows


def test_what_was_made_is_known_by_content_alone() -> None:
    first = Manifest({"a/b": ENTRY, "c": ENTRY}, ("d",))
    later = Manifest({"a/b": Entry(3, ENTRY.sha256, 6), "c": ENTRY, "e": ENTRY}, ("d",))
    other = Manifest({"a/b": Entry(3, sha256(b"abd"), 5), "c": ENTRY}, ("d",))
    assert first.made(["a", "d"]) == later.made(["a", "d"]) != other.made(["a", "d"])
    assert first.made(["a", "x"]) == "" == first.made(["a/b2"])
