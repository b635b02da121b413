"""How long commands take to start, beside importing what any client of this kind imports.

    python3 tests/bench/startup.py [--rounds 20] [--pyz dist/hakuriver.pyz]

Every figure is a ratio to python3 -c 'import json, argparse, http.client', which is 1.0, in CPU time;
the smallest of all rounds. "first" is one without kept bytecode: on a read-only home, each is.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE = "json, argparse, http.client"
COMMANDS = {
    "--version": ["--version"],
    "client status 1": ["client", "status", "1"],  # nobody listens: the start and no more
    "client --help": ["client", "--help"],
    "hakurun true": ["hakurun", "true"],
    "licenses": ["licenses"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pyz", type=Path, help="the one file; built if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pyz = given.pyz or Path(folder, "hakuriver.pyz")
        if given.pyz is None:
            build = [sys.executable, str(ROOT / "build_zipapp.py"), "--output", str(pyz)]
            subprocess.run(build, check=True, capture_output=True)
        environ = {
            "PATH": os.defpath,
            "HAKURIVER_HOME": folder,
            "HAKURIVER_NETWORK_HOST_PORT": "1",
            "XDG_CACHE_HOME": folder,
        }
        first = {**environ, "XDG_CACHE_HOME": os.devnull}
        works = {BASE: (["-c", f"import {BASE}"], environ)}
        for name, argv in COMMANDS.items():
            works[name] = ([str(pyz), *argv], environ)
            works[f"{name}, first"] = ([str(pyz), *argv], first)
        best = dict.fromkeys(works, float("inf"))
        for _ in range(given.rounds):
            for name, (argv, variables) in works.items():
                best[name] = min(best[name], cpu_seconds([sys.executable, *argv], variables))
    for name, seconds in best.items():
        print(f"  {name:<28} {seconds * 1000:7.1f} ms   x {seconds / best[BASE]:5.2f}")


def cpu_seconds(argv: list[str], environ: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
