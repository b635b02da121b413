"""Which words behind hakurun are one submission of a sweep, and which are runs like any others."""

from __future__ import annotations

import pytest

from hakuriver.hakurun.cluster import is_submission


@pytest.mark.parametrize(
    ("words", "submission"),
    [
        ("hakuriver.client -- echo span:{1..3}", True),
        ("hakuriver.client --container E --cores 2 -- python s.py span:{1..10}", True),
        ("hakuriver.client submit --wait -- echo span:[a,b]", True),
        ("./names/hakuriver.client --wait -- echo span:[a,b]", True),
        ("hakuriver.client kill span:{1..3}", False),
        ("hakuriver.client --status span:{1..3}", False),
        ("hakuriver.client shell 5 -- kill span:{1..3}", False),
        ("hakuriver.client", False),
        ("echo -- span:{1..3}", False),
        ("my-hakuriver.client -- echo", False),
    ],
)
def test_a_submission_is_the_client_with_a_command_behind_two_dashes(
    words: str, submission: bool
) -> None:
    assert is_submission(words.split()) is submission
