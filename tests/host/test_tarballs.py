"""The folder of tarballs: what of it can be used, and that nobody's reading is disturbed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hakuriver.host.tarballs import Publisher
from hakuriver.model.errors import Conflict, NotFound, Refused
from hakuriver.model.tarball import Version, manifest_to_json
from hakuriver.system.tarballs import LEASE_SECONDS, LEASES, Tarballs
from tests.system.test_archive import DIGEST, manifest, write

IMAGE = f"sha256:{DIGEST}"


def version(time: int, environment: str = "env", **changes: object) -> Version:
    given = {"size": 3, "sha256": "e" * 64, **changes}
    return Version(environment, time, IMAGE, **given)  # type: ignore[arg-type]


def put(folder: Path, each: Version) -> Version:
    (folder / each.tarball).write_bytes(b"tar")
    (folder / each.manifest).write_text(json.dumps(manifest_to_json(each)))
    return each


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LEASES)


def test_versions_are_listed_newest_first(tmp_path: Path) -> None:
    given = [put(tmp_path, version(time)) for time in (5, 30, 7)]
    put(tmp_path, version(100, "other"))
    found = Tarballs(tmp_path)
    assert [each.time for each in found.versions("env")] == [30, 7, 5]
    assert found.newest("env") == given[1]
    assert found.newest("nothing") is None


def test_a_tarball_of_the_first_hakuriver_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "env-5.tar", {"manifest.json": manifest()})
    assert Tarballs(tmp_path).newest("env") == Version("env", 5, IMAGE, path.stat().st_size)


def test_what_cannot_be_used_is_told_and_passed_over(tmp_path: Path) -> None:
    found = Tarballs(tmp_path)
    (tmp_path / "env-9.tar").write_bytes(b"half")
    with pytest.raises(Refused, match=r"env-9\.tar"):
        found.newest("env")
    good = put(tmp_path, version(5))
    assert found.newest("env") == good
    write(tmp_path / "env-8.tar", {"manifest.json": manifest(RepoTags=["evil/x:base"])})
    (tmp_path / "env-7.tar").write_bytes(b"tar")
    (tmp_path / "env-7.json").write_text("{")
    (tmp_path / "env-6.tar").write_bytes(b"tar")
    os.mkfifo(tmp_path / "env-6.json")
    assert found.newest("env") == good
    texts = " | ".join(found.problems())
    assert "env-9.tar" in texts
    assert "env-8.tar holds the image evil/x:base" in texts
    assert "env-7.json is damaged" in texts
    assert "env-6.json is no file" in texts


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    found = Tarballs(tmp_path)
    (tmp_path / "env-5.tar").write_bytes(b"on its way")
    assert found.versions() == []
    write(tmp_path / "env-5.tar", {"manifest.json": manifest()})
    assert [each.time for each in found.versions()] == [5]


def test_a_version_that_is_being_read_is_hidden_and_stays_until_it_is_not(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, keep=1)
    publisher.prepare()
    old, new = put(tmp_path, version(5)), put(tmp_path, version(6))
    with publisher.tarballs.lease(old, "node1"):
        assert publisher.withdraw_superseded() == [old]
        assert publisher.tarballs.versions() == [new], "nobody begins to read it any more"
        assert f".withdrawn-{old.tarball}" in names(tmp_path)
    publisher.delete_withdrawn()
    assert names(tmp_path) == [new.manifest, new.tarball]


def test_a_lease_of_the_dead_holds_nothing_up(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, keep=1)
    publisher.prepare()
    old = put(tmp_path, version(5))
    put(tmp_path, version(6))
    lease = tmp_path / LEASES / f"{old.tarball}.node1"
    lease.touch()
    long_ago = lease.stat().st_mtime - LEASE_SECONDS - 1
    os.utime(lease, (long_ago, long_ago))
    publisher.withdraw_superseded()
    assert not [name for name in names(tmp_path) if "5" in name]


def test_deleting_is_refused_while_a_node_loads(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, keep=3)
    publisher.prepare()
    old, new = put(tmp_path, version(5)), put(tmp_path, version(6))
    with publisher.tarballs.lease(old, "node1"), pytest.raises(Conflict, match="loaded by node1"):
        publisher.delete("env", None)
    assert publisher.delete("env", 5) == [old]
    assert publisher.tarballs.versions() == [new]
    with pytest.raises(NotFound, match="no tarball of 5"):
        publisher.delete("env", 5)


def test_what_is_published_is_whole_and_what_is_not_leaves_nothing(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, keep=2)
    publisher.prepare()
    with publisher.unfinished("env") as file:
        file.write(b"tar")
        publisher.publish(file, version(5))
    assert names(tmp_path) == ["env-5.json", "env-5.tar"]
    with pytest.raises(ZeroDivisionError), publisher.unfinished("env") as file:
        raise ZeroDivisionError
    assert names(tmp_path) == ["env-5.json", "env-5.tar"]


def test_half_made_files_of_an_earlier_life_are_removed(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "new", keep=2)
    publisher.prepare()
    (tmp_path / "new" / ".part-env.tar").write_bytes(b"half")
    (tmp_path / "new" / ".withdrawn-env-1.tar").write_bytes(b"old")
    publisher.prepare()
    assert names(tmp_path / "new") == []


def test_versions_rise_whatever_the_clock_says(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, keep=2, clock=lambda: 100.0)
    assert publisher.next_time("env") == 100
    put(tmp_path, version(500))
    assert publisher.next_time("env") == 501
    assert publisher.next_time("other") == 100


def test_leases_that_a_killed_runner_left_are_dropped_by_itself_alone(tmp_path: Path) -> None:
    folder = tmp_path / LEASES
    folder.mkdir()
    names = ("a-1.tar.n1", "b-1.tar.n1", "c-1.tar.n1", "a-1.tar.n2", "a-1.tar.xn1")
    for name in names:
        (folder / name).touch()
        if name != "c-1.tar.n1":
            os.utime(folder / name, (1000, 1000))
    Tarballs(tmp_path).drop_leases("n1", but=["b-1.tar"], older_than=60)
    assert {path.name for path in folder.iterdir()} == set(names) - {"a-1.tar.n1"}
