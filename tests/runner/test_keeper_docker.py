"""The keeper in real containers: what the kernel counted, and a signal's way to the command."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hakuriver.runner.record import ExitRecord, keeper_argv, read_exit, read_started
from tests.support.images import Images
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker
MEBIBYTE = 1 << 20
EAT_MEMORY = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
FAKE = {
    "memory.events": "low 0\nhigh 0\nmax 7\noom 3\noom_kill 3\noom_group_kill 9\n",
    "memory.peak": "34359738368\n",
    "cpu.stat": "usage_usec 12345678901\nuser_usec 1\nsystem_usec 2\n",
}


@dataclass(frozen=True, slots=True)
class Container:
    """A container with the keeper as its shell's script; its logs and record are in `folder`."""

    folder: Path
    name: str = field(default_factory=lambda: f"hakuriver-keeper-{uuid.uuid4().hex[:12]}")

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def create(
        self, image: str, *argv: str, options: Sequence[str] = (), counters: bool = True
    ) -> None:
        for log in (self.out, self.folder / "err"):
            log.touch()
            log.chmod(0o666)
        record = self.folder / "record"
        record.mkdir()
        record.chmod(0o1777)
        keeper = keeper_argv(
            record="/hakuriver/record",
            out="/hakuriver/out",
            err="/hakuriver/err",
            workdir="/",
            counters=counters,
            env_names=["A"],
            argv=argv,
        )
        places = mounts(
            {f"/hakuriver/{name}": self.folder / name for name in ("out", "err", "record")}
        )
        fixed = [
            "--init",
            "--network=none",
            "--log-driver=none",
            "--pull=never",
            "--entrypoint=/bin/sh",
        ]
        variables = ["-e", "TINI_KILL_PROCESS_GROUP=1", "-e", "HAKURIVER_ENV_0=a b"]
        limits = ["--memory=32m", "--memory-swap=32m"]
        words = ["--name", self.name, *fixed, *variables, *limits, *places, *options]
        docker("create", *words, image, "-c", *keeper)

    def start(self) -> int:
        """The container's exit code."""
        docker("start", self.name)
        return self.wait()

    def wait(self) -> int:
        return int(docker("wait", self.name).stdout)

    def end(self) -> ExitRecord:
        found = read_exit(self.folder / "record")
        assert found is not None, (self.folder / "err").read_text()
        return found[0]


def mounts(places: Mapping[str, Path]) -> list[str]:
    return [
        f"--mount=type=bind,source={source},target={target}" for target, source in places.items()
    ]


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"docker {words[0]}: {done.stderr}"
    return done


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    subprocess.run(["docker", "rm", "--force", made.name], capture_output=True, timeout=60)


@pytest.fixture
def image(docker_images: Images) -> str:
    return docker_images.image(docker_images.base)


def test_killed_for_memory(container: Container, image: str) -> None:
    container.create(image, *EAT_MEMORY)
    assert container.start() == 137
    end = container.end()
    assert end.exit_code == 137
    assert end.oom_kills == 1
    assert end.peak_memory is not None
    assert 16 * MEBIBYTE < end.peak_memory <= 32 * MEBIBYTE


def test_survives_a_child_killed_for_memory(container: Container, image: str) -> None:
    container.create(image, "sh", "-c", f"{' '.join(EAT_MEMORY)}; echo coped")
    assert container.start() == 0
    assert (container.end().exit_code, container.end().oom_kills) == (0, 1)
    assert container.out.read_text().endswith("coped\n")


def test_memory_and_time_are_measured(container: Container, image: str) -> None:
    work = "dd if=/dev/zero of=/dev/null bs=8M count=1; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    container.create(image, "sh", "-c", f"{work}; exit 3")
    assert container.start() == 3
    end = container.end()
    assert (end.exit_code, end.oom_kills) == (3, 0)
    assert end.peak_memory is not None
    assert 8 * MEBIBYTE < end.peak_memory < 32 * MEBIBYTE
    assert end.cpu_seconds is not None
    assert 0.02 < end.cpu_seconds < 20


def test_no_counters_unless_told(container: Container, image: str) -> None:
    container.create(image, "true", counters=False)
    assert container.start() == 0
    assert container.end() == ExitRecord(0, "", None, None, None)


def test_signal_reaches_the_command(container: Container, image: str) -> None:
    script = 'trap "echo bye; exit 7" TERM; echo ready; while :; do sleep 0.02; done'
    container.create(image, "sh", "-c", script)
    docker("start", container.name)
    wait_until(lambda: "ready" in container.out.read_text(), message="the command runs")
    docker("kill", "--signal=TERM", container.name)
    assert container.wait() == 7
    assert container.end().exit_code == 7
    assert container.out.read_text() == "ready\nbye\n"


def test_environment_holds_nothing_of_ours(container: Container, image: str) -> None:
    container.create(image, "env")
    assert container.start() == 0
    names = {line.partition("=")[0] for line in container.out.read_text().splitlines()}
    assert names - {"SHLVL", "PWD", "HOME"} == {"A", "PATH", "HOSTNAME"}


def test_user_of_the_image(container: Container, docker_images: Images) -> None:
    container.create(docker_images.image(docker_images.nonroot), "id", "-u")
    assert container.start() == 0
    assert container.out.read_text() == "1234\n"
    end = container.end()
    assert end.exit_code == 0
    assert end.peak_memory


def test_image_without_a_shell_claims_nothing(container: Container, docker_images: Images) -> None:
    container.create(docker_images.image(docker_images.shellless), "/bin/true")
    assert container.start() == 127
    assert read_started(container.folder / "record") is None


@pytest.mark.parametrize("place", ["the mount's root", "its path", "both"])
def test_unified_hierarchy(container: Container, image: str, tmp_path: Path, place: str) -> None:
    """cgroup v2, imitated; the task's own path comes before the root of the mount."""
    root, files = tmp_path / "cgroup", tmp_path / "files"
    for folder in (root, files):
        folder.mkdir()
    write(files, FAKE)
    if place == "both":
        write(root, dict.fromkeys(FAKE, "usage_usec 1\noom_kill 1\n"))
    options = mounts({"/sys/fs/cgroup": root, "/files": files})
    find = "" if place == "the mount's root" else "sed -n s/^0:://p /proc/self/cgroup"
    script = f'to=/sys/fs/cgroup$({find}); mkdir -p "$to" && cp /files/* "$to"'
    container.create(image, "sh", "-c", script, options=options)
    assert container.start() == 0
    assert container.end() == ExitRecord(0, "", 3, 32 << 30, 12345.678901)


def test_unified_hierarchy_of_an_old_kernel(
    container: Container, image: str, tmp_path: Path
) -> None:
    """memory.peak came with Linux 5.19, memory.events is missing without the memory controller."""
    root = tmp_path / "cgroup"
    root.mkdir()
    write(root, {"cpu.stat": "usage_usec 5000000\nnr_periods 0\n", "memory.peak": ""})
    container.create(image, "true", options=mounts({"/sys/fs/cgroup": root}))
    assert container.start() == 0
    assert container.end() == ExitRecord(0, "", None, None, 5.0)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
