"""What is deleted when: only what is over, only what is ours, and the output before its task."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

import hakuriver.host.retention as retention
from hakuriver.host.outputs import Outputs
from hakuriver.host.retention import KEY_LIFE, Keep, Retention
from hakuriver.model.errors import BadRequest, HakuRiverError, NotFound, Unavailable
from hakuriver.model.task import Ended, Result, Status
from tests.host.office import Office

DAY = 86400.0


@dataclass(slots=True)
class Archive:
    """An office, and the shared directory with what its tasks have written."""

    office: Office

    @property
    def shared(self) -> Path:
        return self.office.folder

    def keeping(self, **keep: float) -> Retention:
        office = self.office
        return Retention(office.store, self.shared, Keep(**keep), clock=lambda: office.now)

    def write(self, task_id: int, attempt: int = 1, data: str = "12345") -> list[Path]:
        task = self.office.task(task_id)
        paths = [self.shared / task.output_name(stream, attempt) for stream in ("stdout", "stderr")]
        for path in paths:
            path.write_text(data)
        return paths

    def ended(self) -> tuple[int, list[Path]]:
        task_id = self.office.ended()
        return task_id, self.write(task_id)

    def ids(self) -> list[int]:
        return sorted(task.id for task in self.office.all())


@pytest.fixture
def archive(office: Office) -> Archive:
    for folder in ("task_outputs", "task_errors"):
        (office.folder / folder).mkdir(exist_ok=True)
    return Archive(office)


def test_without_a_setting_everything_is_kept(archive: Archive) -> None:
    task_id, paths = archive.ended()
    archive.office.now += 1000 * DAY
    archive.keeping().step()
    assert archive.ids() == [task_id]
    assert all(path.exists() for path in paths)


def test_history_takes_tasks_with_their_output_and_only_those_that_are_over(
    archive: Archive,
) -> None:
    old, paths = archive.ended()
    going, lost = archive.office.running(), archive.office.running("n1")
    kept = [*archive.write(going), *archive.write(lost)]
    archive.office.now += 10 * DAY
    young, young_paths = archive.ended()
    archive.keeping(history=20 * DAY).step()
    assert archive.ids() == [old, going, lost, young]
    archive.keeping(history=5 * DAY).step()
    assert archive.ids() == [going, lost, young]
    assert not any(path.exists() for path in paths)
    assert all(path.exists() for path in (*kept, *young_paths))
    assert archive.office.one() > young, "and its number is never given out again"


def test_output_may_go_before_its_task_and_that_is_said(archive: Archive) -> None:
    old, paths = archive.ended()
    archive.office.now += 10 * DAY
    keeping = archive.keeping(history=30 * DAY, logs=5 * DAY)
    keeping.step()
    assert archive.office.task(old).logs_pruned
    assert not any(path.exists() for path in paths)
    outputs = Outputs(archive.shared, archive.office.task)
    with pytest.raises(NotFound, match="was deleted to make room"):
        outputs.whole(old, "stdout")
    with pytest.raises(NotFound, match="keep_logs|was deleted"):
        outputs.piece(old, "stderr", offset=0, tail=None, limit=10)
    archive.office.now += 30 * DAY
    keeping.step()
    with pytest.raises(NotFound, match="any more") as gone:
        archive.office.task(old)
    assert "keep_history" in gone.value.hint


def test_the_output_of_every_attempt_goes(archive: Archive) -> None:
    task_id = archive.office.ended(1)
    first = archive.write(task_id)
    archive.office.cluster.requeue(task_id)
    archive.office.cluster.place()
    archive.office.send()
    archive.office.report(task_id, Ended(Result(0)), 20)
    assert archive.office.task(task_id).status is Status.COMPLETED
    second = archive.write(task_id, 2)
    archive.office.now += DAY
    done = archive.keeping().prune(10.0, logs_only=True)
    assert (done.tasks, done.size) == (1, 20)
    assert not any(path.exists() for path in (*first, *second))


def test_a_task_that_runs_again_has_output_again(archive: Archive) -> None:
    task_id = archive.office.ended(1)
    archive.office.now += DAY
    archive.keeping().prune(10.0, logs_only=True)
    archive.office.cluster.requeue(task_id)
    assert not archive.office.task(task_id).logs_pruned


def test_a_task_that_is_run_again_meanwhile_is_not_forgotten(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = archive.office.ended(1)
    archive.office.now += DAY
    keeping = archive.keeping()
    remove = keeping._logs
    monkeypatch.setattr(
        keeping,
        "_logs",
        lambda tasks, delete: (archive.office.cluster.requeue(task_id), remove(tasks, delete=delete))[1],
    )  # fmt: skip
    assert keeping.prune(10.0).tasks == 0
    assert archive.office.task(task_id).status is Status.PENDING


def test_a_dry_run_counts_and_changes_nothing(archive: Archive) -> None:
    task_id, paths = archive.ended()
    archive.office.now += DAY
    for logs_only in (False, True):
        done = archive.keeping().prune(10.0, dry_run=True, logs_only=logs_only)
        assert (done.tasks, done.size, done.next) == (1, 10, None)
    assert archive.ids() == [task_id]
    assert all(path.exists() for path in paths)


def test_a_full_disk_below_the_database_is_told_with_what_was_done(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, paths = archive.ended()
    archive.office.now += DAY

    def full(*_: object) -> int:
        raise Unavailable("the host cannot write its database: full", "Nothing was changed.")

    monkeypatch.setattr(archive.office.store, "write", full)
    with pytest.raises(Unavailable) as caught:
        archive.keeping().prune(0)
    assert "The output is deleted; prune again" in caught.value.hint
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("dry_run", [False, True])
def test_many_are_done_in_blocks_that_miss_none(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.setattr(retention, "BLOCK", 2)
    for _ in range(5):
        archive.ended()  # all at the same moment
    archive.office.now += DAY
    after, counts = "", []
    while True:
        done = archive.keeping().prune(10.0, dry_run=dry_run, after=after)
        counts.append((done.tasks, done.size))
        if done.next is None:
            break
        after = done.next
    assert counts == [(2, 20), (2, 20), (1, 10)]
    assert len(archive.ids()) == (5 if dry_run else 0)


def test_no_link_is_followed(archive: Archive, tmp_path: Path) -> None:
    """A task that may write there puts a link in the place of its output."""
    precious = tmp_path / "precious"
    precious.write_text("x" * 100)
    _, (out, err) = archive.ended()
    out.unlink()
    out.symlink_to(precious)
    err.unlink()
    err.mkdir()
    (err / "inside").write_text("x")
    archive.office.now += DAY
    assert archive.keeping().prune(10.0).size == 0
    assert precious.read_text() == "x" * 100
    assert not os.path.lexists(out)
    assert (err / "inside").exists()
    assert archive.ids() == []


@pytest.mark.parametrize("how", ["link", "missing"])
def test_nothing_is_forgotten_where_its_output_cannot_be_deleted(
    archive: Archive, tmp_path: Path, how: str
) -> None:
    """A share that is not mounted has no folder; one that is a link leads elsewhere."""
    task_id, paths = archive.ended()
    folder = archive.shared / "task_outputs"
    folder.rename(tmp_path / "elsewhere")
    if how == "link":
        folder.symlink_to(tmp_path / "elsewhere")
    archive.office.now += DAY
    with pytest.raises(HakuRiverError, match="cannot delete output in .*task_outputs"):
        archive.keeping().prune(10.0)
    with pytest.raises(HakuRiverError):
        archive.keeping(history=10.0, logs=10.0).step()
    assert archive.ids() == [task_id]
    assert (tmp_path / "elsewhere" / paths[0].name).exists()
    assert not archive.office.task(task_id).logs_pruned


@pytest.mark.parametrize("after", ["x", "1.5", "1.5,x", "nonsense,2"])
def test_a_place_that_no_answer_named_is_refused(archive: Archive, after: str) -> None:
    with pytest.raises(BadRequest, match="after"):
        archive.keeping().prune(0.0, after=after)


def test_a_key_is_forgotten_after_a_day(archive: Archive) -> None:
    office = archive.office
    office.submit(key="k")
    office.now += KEY_LIFE - 1
    archive.keeping().step()
    office.submit(key="k")
    assert len(office.all()) == 1
    office.now += 2
    archive.keeping().step()
    office.submit(key="k")
    assert len(office.all()) == 2
