"""docker jobs, for as long as no job is known to be there."""

from __future__ import annotations

from tests.client.conftest import Client
from tests.client.fake_host import FakeHost


def test_a_job_of_a_host_that_is_not_there_is_not_waited_for(
    host: FakeHost, hakuriver: Client
) -> None:
    host.close()
    ended = hakuriver("docker", "jobs", "3", "--host", host.address)
    assert ended.code == 3
    assert "connection refused" in ended.err
    assert "still trying" not in ended.err
