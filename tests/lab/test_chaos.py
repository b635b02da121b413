"""The promise, on real machines that are broken while they work."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.chaos import Chaos, chaotic_cluster
from tests.lab.packages import ROOT
from tests.support import needs

SECONDS = 75.0


def test_every_task_comes_out_as_it_really_went(pyz: Path) -> None:
    needs.needs(needs.lab())
    seed = int(os.environ.get("HAKURIVER_TESTS_SEED", "1"))
    with chaotic_cluster(pyz, runners=3, seed=seed) as cluster:
        chaos = Chaos(cluster, seed)
        try:
            chaos.storm(SECONDS)
            chaos.calm()
            wrong = chaos.verdict()
            print(chaos.report())
        finally:
            chaos.load.abandon()
            chaos.keep(ROOT / ".build" / "chaos" / "last")
        assert not wrong, "\n".join(wrong)
        assert chaos.done.total() > 20, "hardly anything was broken"
        assert len(chaos.load.accepted) > 60, "hardly anything was asked for"
