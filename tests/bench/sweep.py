"""How fast sweeps run on one machine, beside what a user would type instead, in one run.

    python3 tests/bench/sweep.py [--rounds 5] [--pyz dist/hakuriver.pyz]

Every figure is a ratio to xargs -P, which is 1.0: a rate above 1 is faster. The start-up is that
of one `true`. GNU parallel is left out where it is not installed, and that is said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
Contender = Callable[[int, list[str]], None]


def run(argv: list[str], lines: int = 0) -> None:
    text = "".join(f"{number}\n" for number in range(1, lines + 1))
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True)


def contenders(hakurun: str, jobs: int) -> dict[str, Contender]:
    found: dict[str, Contender] = {
        "xargs -P": lambda n, argv: run(["xargs", "-n1", f"-P{jobs}", *argv], n),
        "hakurun": lambda n, argv: run([hakurun, "-j", str(jobs), *argv, f"span:{{1..{n}}}"]),
        "Python loop": lambda n, argv: loop(n, argv, jobs),
    }
    if parallel := shutil.which("parallel"):
        found["GNU parallel"] = lambda n, argv: run([parallel, f"-j{jobs}", *argv, "{}"], n)
    else:
        print("GNU parallel is not installed: apt-get install parallel")
    return found


def loop(count: int, argv: list[str], jobs: int) -> None:
    """What one would write by hand."""
    running = 0
    for number in range(1, count + 1):
        if running == jobs:
            os.wait()
            running -= 1
        os.posix_spawnp(argv[0], [*argv, str(number)], os.environ)
        running += 1
    while running:
        os.wait()
        running -= 1


def seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def table(title: str, works: dict[str, Callable[[], None]], base: str, rounds: int) -> None:
    """In turn, so that a machine that changes its speed changes it for all."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds(work))
    print(title)
    for name, each in taken.items():
        ratio = statistics.median(b / a for a, b in zip(each, taken[base], strict=True))
        print(f"  {name:<14} {statistics.median(each) * 1000:9.1f} ms   rate x {ratio:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pyz", type=Path, help="the one file; built if not given")
    given = parser.parse_args()
    jobs = os.cpu_count() or 2
    with tempfile.TemporaryDirectory() as folder:
        pyz = given.pyz or Path(folder, "hakuriver.pyz")
        if given.pyz is None:
            run([sys.executable, str(ROOT / "build_zipapp.py"), "--output", str(pyz)])
        hakurun = Path(folder, "hakurun")
        hakurun.symlink_to(pyz.resolve())
        rivals = contenders(str(hakurun), jobs)
        for count, argv in ((1000, ["/bin/true"]), (200, ["python3", "-c", "pass"])):
            works: dict[str, Callable[[], None]] = {
                name: partial(rival, count, argv) for name, rival in rivals.items()
            }
            table(f"{count} x {' '.join(argv)}, {jobs} at once", works, "xargs -P", given.rounds)
        starts: dict[str, Callable[[], None]] = {
            "xargs -P": lambda: run(["xargs", "true"]),
            "hakurun": lambda: run([str(hakurun), "true"]),
            "python3 -c pass": lambda: run(["python3", "-c", "pass"]),
        }
        if "GNU parallel" in rivals:
            starts["GNU parallel"] = lambda: run(["parallel", "true", ":::", "1"])
        table("start-up: one true", starts, "xargs -P", given.rounds * 4)


if __name__ == "__main__":
    main()
