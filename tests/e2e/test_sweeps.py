"""Sweeps on the cluster, typed as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Up
from tests.support import needs
from tests.support.cluster import Cluster
from tests.support.images import import_image, system_tar


def outputs(cluster: Cluster, batch: str) -> list[str]:
    rows = json.loads(cluster.client("list", "--batch", batch, "--all", "--json").out)
    ids = sorted(int(row["task_id"]) for row in rows)
    return [(cluster.shared / "task_outputs" / f"{task_id}.out").read_text() for task_id in ids]


def bash(cluster: Cluster, folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Typed at a real bash, with the links on PATH."""
    needs.needs(needs.shell("bash"))
    cluster.run("init", "links", str(folder))
    environ = {**cluster.environ(), "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", line], env=environ, capture_output=True, text=True, timeout=90
    )


def test_the_first_form_of_the_readme_is_one_batch(up: Up, tmp_path: Path) -> None:
    cluster = up()
    line = (
        "hakurun hakuriver.client --container NULL --cores 0 --wait --"
        " sh -c 'echo $1 $HAKURUN_INDEX/$HAKURUN_TOTAL' sh span:{1..10}"
    )
    done = bash(cluster, tmp_path / "links", line)
    assert done.returncode == 0, done.stderr
    assert "is read as 'span:{1..10}'" in done.stderr
    assert outputs(cluster, "1") == [f"{n} {n}/10\n" for n in range(1, 11)]
    requests = cluster.api("GET", "/batch/1")[2]
    assert (requests["total"], requests["by_status"]) == (10, {"completed": 10})


def test_submit_sweep_is_the_same_from_the_other_side(up: Up) -> None:
    cluster = up()
    done = cluster.client(
        "submit", "--sweep", "--wait", "--cores", "0", "--", "sh", "-c", 'echo "$1 $HAKURUN_LR"',
        "sh", "--lr=span:[1e-3,1e-4]",
    )  # fmt: skip
    assert "Tasks 1, 2 submitted as batch 1." in done.out
    assert outputs(cluster, "1") == ["--lr=1e-3 1e-3\n", "--lr=1e-4 1e-4\n"]
    zipped = cluster.client("-q", "submit", "--sweep", "--zip", "--wait", "--", "echo", "span:[a,b]", "span:{1..2}")  # fmt: skip
    assert zipped.out.split() == ["3", "4"]
    assert outputs(cluster, "3") == ["a 1\n", "b 2\n"]


def test_waiting_gives_the_first_failing_code_and_retry_runs_the_failed_again(up: Up) -> None:
    cluster = up()
    script = '[ "$1" -lt 3 ] || [ -e repaired ] || exit $1'
    argv = ("submit", "--sweep", "--wait", "--cores", "0", "--", "sh", "-c", script, "sh")
    done = cluster.client(*argv, "span:{1..30}", check=False)
    assert done.returncode == 3
    assert "2 completed, 28 failed" in done.err
    assert "Task 3 failed: exit code 3" in done.err
    (cluster.shared / "shared_data" / "repaired").touch()
    retried = cluster.client("retry", "--failed", "1")
    assert retried.out == "28 failed tasks of batch 1 wait for another attempt.\n"
    assert cluster.client("wait", "--batch", "1").returncode == 0
    done = cluster.client("retry", "--failed", "1", check=False)
    assert (done.returncode, "no task of batch 1 has failed" in done.err) == (5, True)


def test_ten_thousand_are_accepted_and_killed_as_one(up: Up) -> None:
    cluster = up()
    done = cluster.client("submit", "--sweep", "--", "sleep", "span:{1000..10999}")
    assert done.out == "Tasks 1 to 10000, 10000 tasks, submitted as batch 1.\n"
    assert cluster.api("GET", "/batch/1")[2]["total"] == 10_000
    assert "Kill of 10000 tasks" in cluster.client("kill", "--batch", "1").out
    waited = cluster.client("wait", "--batch", "1", check=False)
    assert "10000 killed" in waited.err
    assert waited.returncode in (137, 143)


def test_what_is_no_sweep_or_no_batch_is_told(up: Up) -> None:
    cluster = up()
    for argv, code, words in (
        (("submit", "--sweep", "--", "echo", "span:{1..}"), 2, "span:{1..}"),
        (("submit", "--sweep", "--", "echo", "span:@/nowhere"), 2, "cannot read /nowhere"),
        (("kill", "--batch", "9"), 4, "there is no batch 9"),
        (("wait", "--batch", "9"), 125, "there is no batch 9"),
        (("retry", "--failed", "9"), 4, "there is no batch 9"),
    ):
        done = cluster.client(*argv, check=False)
        assert (done.returncode, words in done.err) == (code, True), done.err


def test_hakurun_is_there_in_a_task_on_the_node(up: Up) -> None:
    cluster = up()
    done = cluster.client("--wait", "--", "hakurun", "--parallel", "-j", "2", "echo", "span:{A..C}")
    assert done.returncode == 0
    # As they end: each whole, in whatever order.
    assert sorted(cluster.client("logs", "1").out.split()) == ["A", "B", "C"]
    cluster.client("--wait", "--env", "PATH=/bin:/usr/bin", "--", "sh", "-c", "echo $PATH")
    assert cluster.client("logs", "2").out == "/bin:/usr/bin\n", "a PATH of the user's stands"


@pytest.mark.docker
def test_in_a_container_without_python_hakurun_says_so(up: Up, docker_image: str) -> None:
    cluster = up()
    done = cluster.client(
        "--wait", "--container", docker_image, "--", "hakurun", "echo", "x", check=False
    )
    assert done.returncode == 127
    message = "hakurun: error: there is no Python 3.10 or newer here, which hakurun needs\n"
    assert cluster.client("logs", "--stderr", "1").err + cluster.client("logs", "--stderr", "1").out == message  # fmt: skip


@pytest.fixture
def with_usr() -> Iterator[str]:
    """An environment whose PATH names /usr/bin, where this machine's Python is mounted."""
    needs.needs(needs.docker(), needs.static_busybox())
    name = f"usr{os.getpid()}"
    import_image(f"hakuriver/{name}:base", system_tar(), ["ENV PATH=/bin:/usr/bin"])
    yield name
    subprocess.run(["docker", "rmi", "--force", f"hakuriver/{name}:base"], capture_output=True)


@pytest.mark.docker
def test_the_second_form_of_the_readme_sweeps_inside_a_container(up: Up, with_usr: str) -> None:
    found = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]
    )
    if found.returncode:
        pytest.skip("/usr/bin/python3 is older than 3.10")
    cluster = up()
    mounts = [
        word
        for folder in ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/share")
        if Path(folder).exists()
        for word in ("--mount", f"{folder}:{folder}:ro")
    ]
    libraries = ["--mount", "/usr/lib:/lib:ro", "--mount", "/usr/lib64:/lib64:ro"]
    done = cluster.client(
        "--wait", "--container", with_usr, *mounts, *libraries, "--",
        "hakurun", "--parallel", "echo", "span:{A..Z}", check=False,
    )  # fmt: skip
    told = cluster.client("logs", "1", "--stderr")
    assert done.returncode == 0, told.out + told.err
    assert sorted(cluster.client("logs", "1").out.split()) == [chr(65 + n) for n in range(26)]
