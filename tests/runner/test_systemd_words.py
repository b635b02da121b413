"""A systemd-run that said nothing: whether to try again, by how it ended."""

from __future__ import annotations

import signal

import pytest

from hakuriver.runner.drivers.systemd import NOT_NOW, wordless


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (signal.SIGTERM, True), (signal.SIGKILL, True), (143 << 8, True), (137 << 8, True),
        (0, False), (1 << 8, False), (127 << 8, False), (128 << 8, False),
    ],
)  # fmt: skip
def test_what_a_signal_ended_is_tried_again_and_nothing_else(status: int, again: bool) -> None:
    assert (wordless(status) in NOT_NOW) == again
