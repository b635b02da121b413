"""What can be told of a tarball without an engine; those that docker writes are in tests/e2e."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from hakuriver.model.errors import Refused
from hakuriver.system.archive import Archive, read_archive

DIGEST = "d" * 64
NAME = "hakuriver/env:base"


def write(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def manifest(**changes: object) -> bytes:
    entry = {"Config": f"{DIGEST}.json", "RepoTags": [NAME], "Layers": ["l/layer.tar"], **changes}
    return json.dumps([entry]).encode()


@pytest.mark.parametrize("config", [f"{DIGEST}.json", f"blobs/sha256/{DIGEST}"])
def test_both_layouts_of_docker_are_read(tmp_path: Path, config: str) -> None:
    members = {"l/layer.tar": b"x" * 5000, "manifest.json": manifest(Config=config)}
    path = write(tmp_path / "a.tar", members)
    assert read_archive(path) == Archive(f"sha256:{DIGEST}", (NAME,), path.stat().st_size)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'["x"]',
        b"[" * 100_000,
        b"\xff",
        manifest(Config="../../etc/passwd"),
        manifest(Config=5),
        manifest(RepoTags=[5]),
        json.dumps(json.loads(manifest()) * 2).encode(),
    ],
    ids=[
        "empty",
        "none",
        "object",
        "null",
        "text",
        "deep",
        "bytes",
        "path",
        "number",
        "tags",
        "two",
    ],
)
def test_what_is_not_one_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.tar", {"manifest.json": content})
    with pytest.raises(Refused, match=r"a\.tar"):
        read_archive(path)


def test_every_place_to_cut_it_off_is_noticed(tmp_path: Path) -> None:
    members = {"manifest.json": manifest(), "l/layer.tar": b"x" * 3000, "last": b"y" * 700}
    whole = write(tmp_path / "a.tar", members).read_bytes()
    needed = 3 * 512 + 512 + 3072 + 1024 + 1024  # heads, contents, and the end of the archive
    for size in range(0, needed, 97):
        (tmp_path / "a.tar").write_bytes(whole[:size])
        with pytest.raises(Refused):
            read_archive(tmp_path / "a.tar")


def test_what_is_no_tarball_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    with pytest.raises(Refused, match="damaged or no tarball"):
        read_archive(tmp_path / "a.tar")


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_says_it_is_huge_is_not_read(tmp_path: Path, kind: bytes) -> None:
    """In a file with holes it costs nothing to write, and all our memory to read."""
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        file.write(header(kind, 1 << 32))
        file.truncate(1 << 33)
    with pytest.raises(Refused, match="header is too large"):
        read_archive(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_manifest_that_is_no_file_is_not_followed(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(Refused, match="not written by docker save"):
        read_archive(path)


def test_members_are_looked_at_and_never_written(tmp_path: Path) -> None:
    evil = dict.fromkeys(("../evil", str(tmp_path / "evil"), "a/../../evil"), b"evil")
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "a.tar", {**evil, "manifest.json": manifest()})
    assert read_archive(path).tags == (NAME,)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", path]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(Refused, match="no file"):
        read_archive(tmp_path / "a.tar")
