"""A systemd-run that said nothing: whether to try again, by how it ended."""

from __future__ import annotations

import signal

import pytest

from hakuriver.runner.drivers import CannotStart
from hakuriver.runner.drivers.systemd import NOT_NOW, check_memory, wordless


@pytest.mark.parametrize(
    ("status", "again"),
    [
        (signal.SIGTERM, True), (signal.SIGKILL, True), (143 << 8, True), (137 << 8, True),
        (0, False), (1 << 8, False), (127 << 8, False), (128 << 8, False),
    ],
)  # fmt: skip
def test_what_a_signal_ended_is_tried_again_and_nothing_else(status: int, again: bool) -> None:
    assert (wordless(status) in NOT_NOW) == again


@pytest.mark.parametrize("status", [signal.SIGKILL, 137 << 8])
def test_one_whose_memory_limit_is_too_small_for_it_is_not_tried_again(status: int) -> None:
    """--memory 512 is 512 bytes: it would be killed, put back, and killed again, for ever."""
    with pytest.raises(CannotStart, match="out of memory: it cannot even start within 512B"):
        check_memory(status, 512)
    check_memory(status, None)
    check_memory(status, 1 << 30)


@pytest.mark.parametrize("status", [signal.SIGTERM, 143 << 8, 0, 1 << 8])
def test_what_nobody_killed_had_memory_enough(status: int) -> None:
    check_memory(status, 512)
