"""URLs of stores: what no other machine could use, or would show a secret, is refused in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from atlas.errors import UserError
from scripts.plans.store.manifest import sha256
from scripts.plans.store.remote import Remote, StoreError, checked_url


@pytest.mark.parametrize(
    "url", ["sftp://me:hunter2@host/x", "s3://KEY:hunter2/x@bucket/y", "https://h/x?token=hunter2", "az://c/x?sig=hunter2#a"]
)
def test_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="holds a password") as refused:
        checked_url(url)
    assert "hunter2" not in str(refused.value) and "KEY" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/mnt/store", "takes a URL"),
        ("simplecache::s3://bucket/x", "takes a URL"),
        ("memory://x", "no other machine sees"),
        ("file://relative", "absolute path"),
        ("file:///", "absolute path"),
        ("file:///nowhere/store", "mount its disk"),
        ("local:///nowhere/store", "mount its disk"),
        ("local://relative", "absolute path"),
        ("s3://", "name a bucket"),
        ("s3://a b/c", "blanks"),
        ("s3://a\x1bb/c", "blanks or control"),
        ("nosuch://a/b", "cannot be opened"),
    ],
)
def test_what_is_no_store_is_refused(url: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as refused:
        Remote.open(url)
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/x", "pip install s3fs"), ("smb://host/x", '"smbprotocol"')])
def test_a_package_that_is_missing_is_named_as_it_is_called(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "smbprotocol", "smbclient"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"needs a package: .*{package}"):
        Remote.open(url)


def test_users_of_a_host_are_no_secret() -> None:
    assert checked_url("sftp://me@host/folder") and checked_url("abfs://box@account.dfs.core.windows.net/folder")


def test_files(tmp_path: Path) -> None:
    remote = Remote.open(f"file://{tmp_path}").below("deep/store")
    remote.check("it")
    assert remote.names("a") == [] and remote.get("a/b", 10) is None
    remote.put("a/b", b"12345")
    assert remote.names("a") == ["b"] and remote.get("a/b", 5) == b"12345"
    with pytest.raises(StoreError, match="more than 4"):
        remote.get("a/b", 4)
    (tmp_path / "file").write_bytes(b"abc")
    remote.put_file("a/c", tmp_path / "file", 3, sha256(b"abc"))
    remote.get_file("a/c", tmp_path / "copy", 3, sha256(b"abc"))
    assert (tmp_path / "copy").read_bytes() == b"abc"
    with pytest.raises(StoreError, match="was changed"):
        remote.put_file("a/c", tmp_path / "file", 3, sha256(b"abd"))
    for size, digest in ((3, sha256(b"abd")), (2, sha256(b"ab"[:1])), (4, sha256(b"abc"))):
        with pytest.raises(StoreError, match="damaged"):
            remote.get_file("a/c", tmp_path / "other", size, digest)
    with pytest.raises(StoreError, match="FileNotFoundError"):
        remote.get_file("a/d", tmp_path / "other", 3, sha256(b"abc"))
    remote.remove("a/b")
    remote.remove("a/b")
    assert remote.names("a") == ["c"]
    figures = remote.traffic.figures()
    assert figures["bytes_up"] == 5 + 5 + 3 and figures["puts"] == 3


@pytest.mark.skipif(os.name == "nt", reason="/proc and /dev are Linux's")
def test_a_store_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "probes").touch()
    for folder in (str(tmp_path), "/proc"):
        with pytest.raises(UserError, match="cannot be used"):
            Remote.open(f"file://{folder}").check(folder)
