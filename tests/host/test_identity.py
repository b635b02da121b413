"""A cluster's identity outlives its database: no id and no epoch is ever given out twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hakuriver.host.identity import (
    BLOCK,
    FILE_NAME,
    Ids,
    NoneLeft,
    open_identity,
    read_identity,
)
from hakuriver.model.errors import Unavailable, UsageError


def taken_from(ids: Ids, count: int = 1) -> range:
    """As a submission takes them."""
    while True:
        try:
            return ids.take(count)
        except NoneLeft as short:
            ids.reserve(short.count)


class Database:
    """What a database remembers of the cluster that it last belonged to."""

    def __init__(self) -> None:
        self.cluster: str | None = None
        self.epoch = 0
        self.last_id = 0

    def open(self, folder: Path) -> Ids:
        ids = open_identity(
            folder, last_cluster=self.cluster, last_epoch=self.epoch, last_id=self.last_id
        )
        self.cluster, self.epoch = ids.identity.cluster, ids.identity.epoch
        return ids

    def take(self, ids: Ids, count: int) -> list[int]:
        taken = [taken_from(ids)[0] for _ in range(count)]
        self.last_id = taken[-1]
        return taken

    def copy(self) -> Database:
        other = Database()
        other.cluster, other.epoch, other.last_id = self.cluster, self.epoch, self.last_id
        return other


def test_ids_count_from_one_and_go_on_after_a_restart(tmp_path: Path) -> None:
    database = Database()
    ids = database.open(tmp_path)
    assert database.take(ids, 3) == [1, 2, 3]
    ids.close()
    ids = database.open(tmp_path)
    ids.close()
    assert database.take(database.open(tmp_path), 2) == [4, 5]


def test_a_host_that_was_killed_skips_what_is_left_of_its_block(tmp_path: Path) -> None:
    database = Database()
    database.take(database.open(tmp_path), 3)
    assert 3 < database.take(database.open(tmp_path), 1)[0] <= 3 + BLOCK


def test_each_start_is_a_new_epoch(tmp_path: Path) -> None:
    database = Database()
    assert [database.open(tmp_path).identity.epoch for _ in range(4)] == [1, 2, 3, 4]


def test_a_new_database_never_gives_out_an_old_id_or_epoch(tmp_path: Path) -> None:
    old, new = Database(), Database()
    taken = old.take(old.open(tmp_path), 5)
    fresh = new.open(tmp_path)
    assert fresh.identity.cluster == old.cluster
    assert fresh.identity.epoch > old.epoch
    assert new.take(fresh, 1)[0] > max(taken)


def test_a_restored_database_never_gives_out_an_old_id_or_epoch(tmp_path: Path) -> None:
    database = Database()
    first = database.open(tmp_path)
    backup = database.copy()
    taken = database.take(first, BLOCK + 7)
    database.open(tmp_path)
    restored = backup.open(tmp_path)
    assert restored.identity.epoch > database.epoch
    assert backup.take(restored, 1)[0] > max(taken)


def test_a_backup_of_this_very_epoch_never_gives_out_an_old_id(tmp_path: Path) -> None:
    """The same epoch says nothing of how far the ids went: the backup may be hours old."""
    database = Database()
    first = database.open(tmp_path)
    backup = database.copy()
    taken = database.take(first, 5)
    first.close()
    assert backup.take(backup.open(tmp_path), 1)[0] > max(taken)


def test_an_identity_file_that_was_lost_is_made_again_from_the_database(tmp_path: Path) -> None:
    database = Database()
    ids = database.open(tmp_path)
    taken, epoch, cluster = database.take(ids, 5), database.epoch, database.cluster
    (tmp_path / FILE_NAME).unlink()
    again = database.open(tmp_path)
    assert again.identity.cluster == cluster
    assert again.identity.epoch > epoch
    assert database.take(again, 1)[0] > max(taken)


def test_an_older_identity_file_never_turns_back_the_database(tmp_path: Path) -> None:
    database = Database()
    database.open(tmp_path)
    old_file = (tmp_path / FILE_NAME).read_bytes()
    taken = database.take(database.open(tmp_path), 3)
    epoch = database.epoch
    (tmp_path / FILE_NAME).write_bytes(old_file)
    again = database.open(tmp_path)
    assert again.identity.epoch > epoch
    assert database.take(again, 1)[0] > max(taken)


def test_an_id_is_covered_by_the_file_before_it_is_given_out(tmp_path: Path) -> None:
    database = Database()
    ids = database.open(tmp_path)
    for _ in range(2 * BLOCK + 1):
        (taken,) = taken_from(ids)
        known = read_identity(tmp_path)
        assert known is not None
        assert taken < known.next_id


def test_the_file_is_written_once_a_block_and_not_for_each_id(tmp_path: Path) -> None:
    database = Database()
    ids = database.open(tmp_path)
    taken_from(ids)
    before = (tmp_path / FILE_NAME).stat()
    database.take(ids, BLOCK - 1)
    after = (tmp_path / FILE_NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_two_clusters_never_share_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = Database(), Database()
    one.open(tmp_path / "a")
    two.open(tmp_path / "b")
    before = (tmp_path / "a" / FILE_NAME).read_bytes()
    with pytest.raises(UsageError, match="belongs to another cluster"):
        two.open(tmp_path / "a")
    assert (tmp_path / "a" / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"cluster": "x", "epoch": "one", "next_id": 1}', "null", "\0"]
)
def test_a_damaged_file_is_an_error_and_stays_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(UsageError, match="cannot read"):
        Database().open(tmp_path)
    assert (tmp_path / FILE_NAME).read_text() == text


def test_a_directory_that_is_gone_is_said_and_no_id_is_given_out(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    ids = Database().open(folder)
    taken_from(ids)
    folder.rename(tmp_path / "unmounted")
    with pytest.raises(Unavailable, match="is not mounted"):
        for _ in range(BLOCK + 1):
            taken_from(ids)
    with pytest.raises(Unavailable):
        Database().open(folder)


def test_nothing_is_left_lying_about(tmp_path: Path) -> None:
    Database().open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert set(json.loads((tmp_path / FILE_NAME).read_text())) == {"cluster", "epoch", "next_id"}


@pytest.mark.parametrize(
    "there", ["", '{"cluster": "another", "epoch": 1, "next_id": 1}', "damaged"]
)
def test_nothing_is_written_into_the_folder_below_a_mount_that_went_away(
    tmp_path: Path, there: str
) -> None:
    """A runner on this machine would take it for the right one, and its tasks would fail."""
    folder, away = tmp_path / "shared", tmp_path / "unmounted"
    folder.mkdir()
    ids = Database().open(folder)
    taken_from(ids)
    folder.rename(away)
    folder.mkdir()
    if there:
        (folder / FILE_NAME).write_text(there)
    before = [path.read_text() for path in folder.iterdir()]
    with pytest.raises(Unavailable, match="is not mounted|another cluster|cannot read"):
        taken_from(ids, BLOCK)
    with pytest.raises(Unavailable):
        ids.close()
    assert [path.read_text() for path in folder.iterdir()] == before
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    away.rename(folder)
    assert taken_from(ids, BLOCK) == range(2, 2 + BLOCK)
