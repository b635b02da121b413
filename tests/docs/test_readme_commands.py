"""Every command that the documentation tells to type is typed, in order, on one machine.

A page has a fresh home folder, a copy of the checkout to stand in, and free ports, which the
environment says (HAKURIVER_NETWORK_HOST_PORT and _RUNNER_PORT): no command is rewritten. What
pages.py says of the languages of blocks holds here.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import build_zipapp
from tests.docs.pages import PAGES, README, ROOT, Block, Command, blocks, commands
from tests.docs.terminal import Terminal
from tests.support import images, needs
from tests.support.cluster import free_port, kill_tasks, remove_containers
from tests.support.wait import wait_until

ENVIRONMENT = "my-env"
IMAGES = (f"hakuriver/{ENVIRONMENT}:base", "python:3.12-slim")
READY = {
    "host": "host serving on ",
    "runner": "registered with the host at ",
    "up": "HakuRiver is up at ",
}
"""What a job in the background writes once it can be used."""
CHECKOUT = (
    "hakuriver",
    "hakuriver.py",
    "build_zipapp.py",
    "vendor.lock",
    "dashboard.lock",
    ".build",
    "LICENSE",
)
WITH_DOCKER = [p for p in PAGES if any(block.language == "sh docker" for block in blocks(p))]
PLAIN = [p for p in PAGES if p == README or any(block.language == "sh" for block in blocks(p))]


def name_of(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PLAIN, ids=name_of)
def test_every_command_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    if "curl" in page.read_text(encoding="utf-8"):
        needs.needs(needs.shell("curl"))
    needs.needs(needs.npm())
    type_all(page, tmp_path, docker=False)


@pytest.mark.docker
@pytest.mark.parametrize("page", WITH_DOCKER, ids=name_of)
def test_with_an_engine_those_in_containers_do_too(
    page: Path, tmp_path: Path, environment_image: None
) -> None:
    type_all(page, tmp_path, docker=True)


@pytest.fixture
def environment_image() -> Iterator[None]:
    """The environment that the pages name, and the image that they begin with: busybox for both.

    Images of those names that are there already are used.
    """
    needs.needs(needs.docker(), needs.static_busybox(), needs.npm())
    # One session at a time: the names are the same for all.
    with open(Path(tempfile.gettempdir(), "hakuriver-docs-image.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ours = [image for image in IMAGES if docker("image", "inspect", image).returncode != 0]
        for image in ours:
            images.import_image(image, images.system_tar(), ["ENV PATH=/bin"])
        try:
            yield
        finally:
            docker("rm", "--force", ENVIRONMENT)
            if ours:
                docker("rmi", "--force", *ours)


def docker(*argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *argv], capture_output=True, timeout=60)


def type_all(page: Path, folder: Path, *, docker: bool) -> None:
    typist = Typist(folder)
    try:
        printed: str | None = None
        for block in blocks(page):
            before, printed = printed, None
            if block.language == "sh" or (docker and block.language == "sh docker"):
                printed = typist.type_block(page, block)
            elif block.language == "toml":
                typist.change_settings(block.text)
            elif block.language == "text" and before is not None:
                check_printed(block, before, page)
    finally:
        typist.close()


def check_printed(block: Block, printed: str, page: Path) -> None:
    lines = iter(printed.splitlines())
    for wanted in block.text.splitlines():
        pattern = ".*".join(map(re.escape, wanted.split("…")))
        assert any(re.fullmatch(pattern, line) for line in lines), (
            f"{page.name}:{block.line}: {wanted!r} is not what is printed:\n{printed}"
        )


class Typist:
    """Somebody at a terminal who follows a page: waits until what was started can be used."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._shared = folder / "shared"
        checkout, programs = folder / "checkout", folder / "bin"
        for each in (self._home, self._shared, checkout, programs):
            each.mkdir()
        build_zipapp.fetch(ROOT)  # What has been fetched is not fetched again for each page.
        for name in CHECKOUT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, checkout / name)
        (programs / "python3").symlink_to(needs.base_python())
        self._terminal = Terminal(checkout, folder, self._environ(programs, folder))

    def _environ(self, programs: Path, folder: Path) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HAKURIVER_")}
        return {
            **clean,
            "HOME": str(self._home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(toml_reader(folder)),
            "HAKURIVER_NETWORK_HOST_PORT": str(free_port()),
            "HAKURIVER_NETWORK_RUNNER_PORT": str(free_port()),
            # The pages' addresses and mount points are those of other machines.
            "HAKURIVER_NETWORK_HOST_BIND_IP": "127.0.0.1",
            "HAKURIVER_NETWORK_HOST_REACHABLE_ADDRESS": "127.0.0.1",
            "HAKURIVER_PATHS_SHARED_DIR": str(self._shared),
        }

    def type_block(self, page: Path, block: Block) -> str:
        printed = ""
        for command in commands(block):
            stand_in = stands_in(command.text)
            code, text = self._type(command if stand_in is None else Command(stand_in))
            printed += text
            assert code == command.exit_code, (
                f"{page.name}:{block.line}: {command.text}\nexit code {code}, not "
                f"{command.exit_code}:\n{text}\n--- jobs\n{self._terminal.jobs_text()[-4000:]}"
            )
        return printed

    def _type(self, command: Command) -> tuple[int, str]:
        if command.in_background:
            return self._start(command.text)
        code, text = self._terminal.run(command.text)
        if command.text.startswith("kill %"):
            self._terminal.run(command.text.replace("kill", "wait"))
        elif " client " in command.text and " -- " in command.text:
            self._settle()
        return code, text

    def _start(self, command: str) -> tuple[int, str]:
        (line,) = {READY[word] for word in command.split() if word in READY}
        before = self._terminal.jobs_text().count(line)
        answer = self._terminal.run(command, background=True)
        wait_until(
            lambda: self._terminal.jobs_text().count(line) > before,
            message=f"{command} is ready:\n{self._terminal.jobs_text()}",
        )
        return answer

    def _settle(self) -> None:
        """People type more slowly than this: a task that can start has started by then."""
        listing = "python3 hakuriver.py client --json list --status pending,assigning"

        def settled() -> bool:
            tasks = json.loads(self._terminal.run(listing)[1])
            return all("the task wants" in (task["error_message"] or "") for task in tasks)

        wait_until(settled, message="every task has started, or waits for room")

    def change_settings(self, toml: str) -> None:
        """What the page says to write into the configuration file; every key has to be there."""
        path = self._home / ".hakuriver" / "config.toml"
        text, section = path.read_text(encoding="utf-8"), ""
        for line in filter(None, map(str.strip, toml.splitlines())):
            if line.startswith("["):
                section = line
                continue
            head, _, tail = text.partition(f"\n{section}\n")
            key = line.partition("=")[0].strip()
            changed, count = re.subn(rf"(?m)^{key} = .*$", line.replace("\\", r"\\"), tail, count=1)
            assert count == 1, f"no such setting: {section} {line}"
            text = f"{head}\n{section}\n{changed}"
        path.write_text(text, encoding="utf-8")

    def close(self) -> None:
        self._terminal.close()
        for identity in (self._shared / ".hakuriver.json", *self._home.rglob(".hakuriver.json")):
            if identity.exists():
                found = re.search(r'"cluster": "(\w+)"', identity.read_text(encoding="utf-8"))
                assert found is not None
                remove_containers(found[1])
                kill_tasks(found[1])


def stands_in(command: str) -> str | None:
    """What is typed instead of the few commands that would start these tests again, or for long."""
    words = command.split()
    if words[:1] == [".ci/run"]:
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
        return ":"
    if words[:1] != ["python3"] or not words[1:2] or not words[1].startswith("tests"):
        return None
    for word in words[1:]:
        assert not word.startswith("tests") or (ROOT / word).exists(), f"there is no {word}"
    ready = Path(sys.prefix).is_relative_to(ROOT / ".venv")
    if words[1] == "tests" and ready:
        return f"(cd '{ROOT}' && python3 tests --version)"
    return ":"


def toml_reader(folder: Path) -> Path:
    """tomli for a Python 3.10 without packages, as the README says; nothing else of ours."""
    target = folder / "packages"
    target.mkdir()
    if sys.version_info < (3, 11):
        import tomli

        (target / "tomli").symlink_to(Path(tomli.__file__).parent)
    return target
