"""Makes cluster-v1.db as HakuRiver wrote it with schema version 1: `python3 make_old_database.py`.

It is checked in and never made again: a database that a present version writes proves nothing.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = Path(__file__).resolve().with_name("cluster-v1.db")


def make(path: Path) -> None:
    from hakuriver.host.rows import Tx
    from hakuriver.host.schema import MIGRATIONS
    from hakuriver.host.store import Store
    from hakuriver.model.node import Capacity, Engine, NodeInfo, NumaNode
    from hakuriver.model.target import Target
    from hakuriver.model.task import FINAL, Status, Task, TaskSpec, Wish

    assert len(MIGRATIONS) == 1, "this is schema version 1 no more"

    def node(number: int) -> NodeInfo:
        capacity = Capacity(8, 16 << 30, 32, {0: NumaNode((0, 1, 2, 3), 8 << 30)})
        return NodeInfo(
            f"node{number}", f"http://10.0.0.{number}:8001", f"instance{number}", 1700000000,
            "boot", "1.0", 1, capacity, "process", Engine("20.10.24", False), {"base": "sha256:1"},
        )  # fmt: skip

    def task(number: int, status: Status) -> Task:
        spec = TaskSpec(
            ("echo", "\udcff", "a b"), (("A", "é\udc80"),), 0.5, 1 << 28, "base", True, ("/a:/b:ro",),
            Target("node1", 0) if number % 2 else None, "somebody",
        )  # fmt: skip
        return Task(number, number, spec, status, 1700000000.5 + number)

    def fill(tx: Tx) -> None:
        for number in (1, 2):
            tx.save_node(node(number), 1700000000.0)
        tx.drain("node2", "moving house")
        numbers = itertools.count(1)
        for status in Status:
            for number in itertools.islice(numbers, 2):
                tx.add_tasks([task(number, Status.PENDING)])
                if status is Status.PENDING:
                    continue
                tx.assign(number, "node1", (3, tx.next_order("node1")), 1700000100.0)
                now = tx.task(number)
                assert now is not None
                changed = replace(
                    now, status=status, message=f"it is {status.value}", driver="docker"
                )
                if status is not Status.ASSIGNING:
                    tx.close_order(number)
                    changed = replace(changed, report_n=5, incarnation=1700000000, unit_name="u")
                if status in FINAL:
                    changed = replace(changed, completed_at=1700000200.0, exit_code=number)
                if status is Status.LOST:
                    changed = replace(changed, wish=Wish.KILL, wish_n=1)
                tx.update_task(changed)
        tx.set_meta("cluster", "0123456789abcdef")
        tx.set_meta("epoch", "3")
        tx.save_submission("key", "hash", '{"task_ids": ["1"]}', 1700000000.0)

    store = Store(path)
    store.write(fill)
    store.close()


if __name__ == "__main__":
    if PATH.exists():
        sys.exit(f"{PATH} exists; it must stay as an old version wrote it")
    sys.path.insert(0, str(ROOT))
    make(PATH)
