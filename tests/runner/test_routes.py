from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hakuriver.model.errors import NotFound
from hakuriver.runner.jobs import Jobs
from hakuriver.runner.ledger import Ledger
from hakuriver.runner.routes import Desk, shell
from hakuriver.runner.shells import Shells
from hakuriver.system.router import Request


@pytest.mark.parametrize(
    ("task", "attempt"), [("1", "1"), ("1", "9" * 5000), ("9" * 5000, "1"), ("²", "1"), ("1", "-1")]
)
def test_a_shell_in_what_is_not_here_is_not_found(tmp_path: Path, task: str, attempt: str) -> None:
    ledger = Ledger(tmp_path)
    shells = Shells(Jobs(ledger), {})
    request = Request(
        method="GET",
        path=f"/v1/shell/{task}/{attempt}",
        params={"task": task, "attempt": attempt},
        query={},
        headers={"connection": "upgrade", "upgrade": "hakuriver-pty"},
        body=b"",
        peer="127.0.0.1",
    )
    with closing(ledger), pytest.raises(NotFound):
        shell(request, Desk("node1", lambda: None, lambda: None, lambda: shells))
