"""Jobs: in turn per environment, followed by many, honest about their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from hakuriver.host.jobs import Job, Jobs, JobState, Progress
from hakuriver.model.errors import Conflict, NotFound, Unavailable
from tests.support.wait import wait_until


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs(epoch=7)
    yield made
    made.stop()


class Gate:
    """Work that goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, progress: Progress) -> dict[str, Any]:
        self.begun.set()
        while not self.open.wait(0.01):
            progress.check()
        return {"message": "made"}


def nothing(progress: Progress) -> dict[str, Any]:
    return {"message": "made"}


def test_a_job_tells_its_result(jobs: Jobs) -> None:
    done = jobs.end(jobs.start("pack", "env", nothing, user="lab"))
    assert (done.id, done.state, done.message, done.user) == ("7.1", JobState.DONE, "made", "lab")


def test_a_failure_is_told_to_whoever_waits(jobs: Jobs) -> None:
    def fail(progress: Progress) -> dict[str, Any]:
        raise Conflict("no room")

    job = jobs.start("pack", "env", fail)
    with pytest.raises(Conflict, match="no room"):
        jobs.end(job)
    assert (jobs.get(job.id).state, jobs.get(job.id).message) == (JobState.FAILED, "no room")


def test_a_fault_of_ours_ends_the_job_too(jobs: Jobs) -> None:
    job = jobs.start("pack", "env", lambda progress: progress.nothing)  # type: ignore[attr-defined]
    wait_until(lambda: jobs.get(job.id).state.over)
    assert jobs.get(job.id).message == "internal error"


def test_jobs_of_one_environment_follow_each_other_and_others_do_not_wait(jobs: Jobs) -> None:
    first, second, other = Gate(), Gate(), Gate()
    jobs.start("pack", "env", first)
    waiting = jobs.start("pack", "env", second)
    jobs.start("pack", "other", other)
    assert first.begun.wait(5)
    assert other.begun.wait(5)
    assert not second.begun.is_set()
    assert jobs.get(waiting.id).stage == "waits for job 7.1"
    first.open.set()
    assert second.begun.wait(5)
    second.open.set()
    assert jobs.end(waiting).state is JobState.DONE


def test_followers_hear_of_each_change(jobs: Jobs) -> None:
    gate = Gate()

    def work(progress: Progress) -> dict[str, Any]:
        gate(progress)
        progress.stage("saving", total=10)
        progress.bytes(4)
        return {}

    job = jobs.start("pack", "env", work)
    assert gate.begun.wait(5)
    wait_until(lambda: jobs.get(job.id).state is JobState.RUNNING)
    running = jobs.get(job.id)
    seen: list[Job] = []
    follower = threading.Thread(target=lambda: seen.append(jobs.wait(job.id, running.revision, 30)))
    follower.start()
    gate.open.set()
    follower.join(10)
    assert seen
    assert seen[0].revision > running.revision


def test_what_is_on_its_way_is_known(jobs: Jobs) -> None:
    gate = Gate()
    jobs.start("create", "elsewhere", gate)
    job = jobs.start("pack", "env", gate)
    assert {name: each.id for name, each in jobs.making().items()} == {"env": job.id}
    gate.open.set()
    jobs.end(job)
    assert jobs.making() == {}


def test_a_job_of_an_earlier_host_is_told_from_one_that_never_was(jobs: Jobs) -> None:
    with pytest.raises(NotFound, match="the host has been restarted"):
        jobs.get("6.1")
    for name in ("7.1", "8.1", "x", "", "6" * 50):
        with pytest.raises(NotFound, match="there is no job"):
            jobs.get(name)


def test_a_host_that_stops_ends_its_jobs(jobs: Jobs) -> None:
    gate = Gate()
    job = jobs.start("pack", "env", gate)
    assert gate.begun.wait(5)
    jobs.stop()
    assert jobs.get(job.id).message == "the host was stopped meanwhile"
    with pytest.raises(Unavailable, match="stopping"):
        jobs.start("pack", "env", nothing)


def test_old_jobs_are_forgotten(jobs: Jobs) -> None:
    for _ in range(250):
        jobs.end(jobs.start("pack", "env", nothing))
    assert len(jobs.all()) <= 201
    assert jobs.all()[0].id == "7.250"
