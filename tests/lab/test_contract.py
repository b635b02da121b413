"""The suite of all drivers, unchanged, where systemd is PID 1."""

from __future__ import annotations

import re

from tests.lab.node import Node


def test_the_systemd_driver_keeps_the_contract(node: Node) -> None:
    argv = ["python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "/src/tests/contract",
            "-k", "systemd"]  # fmt: skip
    done = node.run(
        "env", "--chdir=/src", "PYTHONPATH=/packages", "PYTHONDONTWRITEBYTECODE=1", *argv,
        check=False, timeout=500,
    )  # fmt: skip
    assert done.code == 0, done.out[-8000:] + done.err
    passed = re.search(r"(\d+) passed", done.out)
    assert passed is not None, done.out
    assert int(passed[1]) > 50, "the suite was not collected"
    assert not node.sh("systemctl list-units --all --plain --no-legend 'hakuriver-*.scope'")
