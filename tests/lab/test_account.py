"""The judge of the chaos sees each kind of wrong, and lets pass what is true."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.account import Acts, account, judge, read_testimony

DONE = "started 1\nended 1 0\n"
HELLO = b"hello 5 1\nbye 0\n"


def task(status: str = "completed", code: int | None = 0, **more: object) -> dict[str, Any]:
    return {"task_id": "5", "attempt": 1, "status": status, "exit_code": code, "error_message": None,
            "assigned_node": "n1", "driver": "docker", **more}  # fmt: skip


@pytest.mark.parametrize(
    ("found", "told", "output", "acts"),
    [
        (task(), DONE, HELLO, Acts()),
        (task("failed", 7), "started 1\nended 1 7\n", b"hello 5 1\nbye 7\n", Acts()),
        (task("killed", 143), "started 1\n", b"hello 5 1\n", Acts(killed=True)),
        (task("killed", None), "", None, Acts(killed=True)),
        (task("failed", None, error_message="the node restarted; how far it got is unknown"),
         "started 1\n", b"hello 5 1\n", Acts(rebooted=True)),
        (task("failed", 143), "started 1\n", b"hello 5 1\n", Acts(rebooted=True)),
        (task("failed", 143), "started 1\n", b"hello 5 1\n", Acts(engine_restarted=True)),
        (task(), "started 1\nmute 1\nended 1 0\n", b"", Acts(disk=True)),
        (task(attempt=2), "started 1\nstarted 2\nended 2 0\n", b"hello 5 2\nbye 0\n", Acts()),
    ],
)  # fmt: skip
def test_the_truth_passes(found: dict[str, Any], told: str, output: bytes, acts: Acts) -> None:
    assert judge(found, read_testimony(told), output, acts) == []


@pytest.mark.parametrize(
    ("found", "told", "output", "acts"),
    [
        (task("running", None), "started 1\n", b"hello 5 1\n", Acts()),
        (task("lost", None), "started 1\n", b"hello 5 1\n", Acts()),
        (task(), "started 1\nstarted 1\nended 1 0\n", HELLO, Acts()),
        (task(), "started 1\nended 1 0\nended 1 0\n", HELLO, Acts()),
        (task(), "", None, Acts()),
        (task(), "started 1\n", b"hello 5 1\n", Acts()),
        (task(), "started 1\nended 1 7\n", b"hello 5 1\nbye 7\n", Acts()),
        (task("failed", 1), DONE, HELLO, Acts()),
        (task("failed", 143), "started 1\n", b"hello 5 1\n", Acts()),
        (
            task("failed", 143, driver="systemd"),
            "started 1\n",
            b"hello 5 1\n",
            Acts(engine_restarted=True),
        ),
        (task("failed", None, error_message="the exit code is unknown"), DONE, HELLO, Acts()),
        (task("failed", None, error_message="the node restarted"), "started 1\n", b"", Acts()),
        (task("killed", 143), "started 1\n", b"hello 5 1\n", Acts()),
        (task("killed_oom", 137), "started 1\n", b"hello 5 1\n", Acts()),
        (task(), DONE, b"hello 5 1\n", Acts()),
        (task(), DONE, b"", Acts()),
        (task(), DONE + "started 2\n", HELLO, Acts()),
        (task(attempt=2), DONE + "started 2\nended 2 0\n", b"hello 5 2\nbye 0\n", Acts()),
    ],
)
def test_each_lie_is_seen(found: dict[str, Any], told: str, output: bytes, acts: Acts) -> None:
    assert judge(found, read_testimony(told), output, acts)


def test_tasks_are_neither_lost_nor_made_up() -> None:
    told = {"5": read_testimony(DONE), "9": read_testimony(DONE)}
    wrong = account([task(), task(task_id="6")], ["5", "7"], told, {"5": HELLO}, {})
    assert any("7 was accepted and is not known" in line for line in wrong)
    assert any("6 was accepted by nobody" in line for line in wrong)
    assert any("9 ran and is not known" in line for line in wrong)
