"""`python3 tests screenshots`: every page of the dashboard, light and dark, as docs/images/*.png.

From a real cluster: a host, three runners on this machine, a Docker engine, and work for a minute.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import build_zipapp
from tests.support import needs
from tests.support.browser import PHONE, Browser
from tests.support.cluster import Cluster
from tests.support.images import import_image, system_tar
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE = (1280, 860)
TOKEN = "for the pictures"
IMAGE = "lab/base:12"
NODES = {"atlas": 16, "borealis": 16, "cygnus": 8}
TRAIN = r"""
printf '\033[1mepoch  loss    accuracy\033[0m\n'
n=0
while [ $n -lt $1 ]; do
  n=$((n + 1))
  printf '%5d  0.%04d  \033[32m%d.%d %%\033[0m\n' $n $((9000 / n)) $((60 + n % 38)) $((n % 10))
  sleep 0.4
done
printf '\033[33mwarning: the learning rate was lowered twice\033[0m\n' >&2
"""
PAGES = {
    "overview": "", "nodes": "nodes", "node": "nodes/atlas", "tasks": "tasks", "submit": "submit", "environments": "environments",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument(
        "--seconds", type=float, default=75, help="how long the cluster works first"
    )
    given = parser.parse_args()
    for capability in (needs.browser(), needs.docker(), needs.static_busybox()):
        if not capability.real:
            raise SystemExit(f"{capability.name}: {capability.detail}")
    with working_cluster(given.seconds) as (cluster, task):
        for dark in (False, True):
            take(cluster, task, given.output, dark=dark)


@contextmanager
def working_cluster(seconds: float) -> Iterator[tuple[Cluster, str]]:
    """And the task whose page is shown."""
    with tempfile.TemporaryDirectory() as folder:
        pyz = Path(folder, "hakuriver.pyz")
        build_zipapp.build(ROOT, pyz)
        with Cluster([needs.base_python(), str(pyz)], auth_token=TOKEN) as cluster:
            cluster.start_host()
            for name, cores in NODES.items():
                cluster.start_runner(name, runner_cores=cores)
            try:
                import_image(IMAGE, system_tar(), ["ENV PATH=/bin"])
                prepare(cluster, IMAGE)
                task = work(cluster)
                pass_time(seconds)
                yield cluster, task
            finally:
                subprocess.run(["docker", "rmi", "--force", IMAGE], capture_output=True)
                for name in ("genomics", "vision"):
                    for argv in (
                        ["rm", "--force", name],
                        ["rmi", "--force", f"hakuriver/{name}:base"],
                    ):
                        subprocess.run(["docker", *argv], capture_output=True)


def prepare(cluster: Cluster, image: str) -> None:
    for name in ("genomics", "vision"):
        body = {"image_name": image, "container_name": name, "user": "ada"}
        assert cluster.api("POST", "/docker/host/create", body)[0] == 201
        assert cluster.api("POST", f"/docker/create_tar/{name}", {"user": "ada"})[0] == 200
    cluster.api("POST", "/docker/host/stop/genomics", {})


def work(cluster: Cluster) -> str:
    for number in range(6):
        cluster.wait_final(
            cluster.submit("sh", "-c", f"exit {3 if number == 4 else 0}", user="grace")
        )
    (cluster.shared / "shared_data" / "train.sh").write_text(TRAIN)
    task = cluster.submit("sh", "/shared/train.sh", "400", container_name="vision", required_cores=2, user="ada",
                          env_vars={"SEED": "7"})  # fmt: skip
    cluster.wait_status(task, "running")
    for argv in (
        ["--cores", "2", "--container", "vision", "--", "sh", "-c", "sleep $1", "align.sh", "span:{30..47}"],
        ["--cores", "1", "--", "sleep", "span:{200..214}"],
    ):  # fmt: skip
        cluster.client("submit", "--sweep", *argv)
    cluster.submit(
        "sh", "-c", "echo 'no such file: reads.fastq' >&2; exit 2", user="linus", required_cores=0
    )
    cluster.submit("sleep", "900", required_cores=16, user="grace", targets=["cygnus"])
    return task


def take(cluster: Cluster, task: str, output: Path, *, dark: bool) -> None:
    theme = "dark" if dark else "light"
    with Browser(f"http://127.0.0.1:{cluster.port}", size=SIZE, dark=dark) as page:
        page.open()
        page.see("asks for its token")
        page.screenshot(output / f"login-{theme}.png")
        page.fill("Token", TOKEN)
        page.fill("Your name", "ada")
        page.click("Log in")
        page.see("nodes up")
        for name, path in {**PAGES, "task": f"tasks/{task}"}.items():
            page.open(path)
            page.see("Live")
            settle(page, name, task)
            page.screenshot(output / f"{name}-{theme}.png")
        page.open("environments/vision/shell")
        page.see("Connected")
        page.one(".xterm-helper-textarea").send_keys(
            "cd /shared && uname -srm && top -bn1 | head -12\n"
        )
        wait_until(lambda: "COMMAND" in page.text())
        page.screenshot(output / f"shell-{theme}.png")
        page.resize(PHONE)
        page.driver.refresh()
        for name in ("overview", "tasks"):
            page.open(PAGES[name])
            settle(page, name, task)
            page.screenshot(output / f"{name}-phone-{theme}.png")
        page.check()


def pass_time(seconds: float) -> None:
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() - begin >= seconds, timeout=seconds + 5)


def settle(page: Browser, name: str, task: str) -> None:
    """Wait until what makes the picture is in it."""
    page.unsee("Loading …")
    if name == "task":
        page.see("following")
        page.one(".log-line span")
    elif name == "tasks":
        page.see("submissions")
    elif name == "submit":
        page.fill("Command line", "python train.py --lr span:{0.1,0.01,0.001} --seed span:{1..3}")
        page.fill("Memory", "4G")
        page.see("9 tasks will be submitted.")
    elif name == "environments":
        page.see("newest")
    elif name in ("overview", "node"):
        wait_until(lambda: len(page.all(".u-over")) == 2)
    # Numbers move for a moment after the first event.
    page.script("document.activeElement.blur()")
    pass_time(1.5)


if __name__ == "__main__":
    main()
