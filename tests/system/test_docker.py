"""What the docker client says, told apart: the engine refused, or it was not there to be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.system.command import Completed
from hakuriver.system.docker import Docker, Interrupted, NoEngine, check_engine, engine_error
from hakuriver.system.docker_stream import load_image

ID = "81f432131aa5"


def failed(*lines: str) -> Completed:
    return Completed(1, b"", "\n".join(lines).encode())


@pytest.mark.parametrize(
    "lines",
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",),
        (f'error during connect: Post "http://%2Fvar%2Frun%2Fdocker.sock/v1.41/containers/{ID}/start": EOF',
         f"Error: failed to start containers: {ID}"),
        ("permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: dial",),
        ("sudo: a password is required",),
    ],
)  # fmt: skip
def test_an_engine_that_was_not_reached_is_no_refusal(lines: tuple[str, ...]) -> None:
    with pytest.raises(NoEngine):
        check_engine(failed(*lines))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("Error response from daemon: no such image: x", "See 'docker create --help'."), "no such image: x"),
        (('Error response from daemon: exec: "nope": not found', f"Error: failed to start containers: {ID}"),
         'exec: "nope": not found'),
        (("docker: Error response from daemon: Conflict.", "See 'docker run --help'."), "Conflict."),
        (("invalid argument",), "invalid argument"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_engines_words(lines: tuple[str, ...], said: str) -> None:
    done = failed(*lines)
    check_engine(done)
    assert engine_error(done) == said


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_client_that_somebody_ended_says_nothing_of_the_archive(
    tmp_path: Path, signal: str
) -> None:
    """docker stands behind a program that ends instead, as `sudo -n` stands in front of it."""
    ends = tmp_path / "ends"
    ends.write_text(f"#!/bin/sh\ncat >/dev/null; kill -{signal} $$\n")
    ends.chmod(0o755)
    archive = tmp_path / "archive.tar"
    archive.write_bytes(b"x" * 5000)
    with pytest.raises(Interrupted, match="was stopped by a signal"):
        load_image(Docker((str(ends),)), archive, sha256="", size=5000, on_bytes=lambda done: None)


def test_a_docker_client_that_was_killed_says_nothing_of_the_engine_or_the_image(
    tmp_path: Path,
) -> None:
    ends = tmp_path / "docker"
    ends.write_text("#!/bin/sh\nkill -9 $$\n")
    ends.chmod(0o755)
    with pytest.raises(Interrupted, match="docker image was stopped by a signal"):
        Docker((str(ends),)).image_id("hakuriver/base:base")
