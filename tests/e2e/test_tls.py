"""A cluster that speaks TLS, and what is said where somebody does not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Certificates, make_certificates
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

TOKEN = "t0ken-of-this-test-0123456789"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(program: list[str], made: Certificates) -> Iterator[Cluster]:
    files: dict[str, Any] = {"network_tls_cert": made.cert, "network_tls_key": made.key,
                             "network_tls_ca": made.ca}  # fmt: skip
    with Cluster(program, auth_token=TOKEN, **files) as cluster:
        cluster.start_host()
        cluster.start_runner(online=False)
        wait_until(lambda: "online" in cluster.client("nodes").out)
        yield cluster


def test_tasks_logs_and_shells(secure: Cluster) -> None:
    done = secure.client("--wait", "--", "sh", "-c", "echo hi; exit 3", check=False)
    assert done.returncode == 3, done.err
    task_id = secure.client("--quiet", "--", "sleep", "600").out.strip()
    wait_until(lambda: "running" in secure.client("status", task_id).out)
    data = b"0123456789abcdef" * 65536
    copied = secure.client("shell", task_id, "--", "cat", input=data, timeout=60)
    assert copied.stdout == data
    ended = secure.client("shell", task_id, "--", "sh", "-c", "exit 9", check=False)
    assert ended.returncode == 9
    secure.client("kill", task_id)
    big = secure.client("--quiet", "--", "sh", "-c", "head -c 3000000 /dev/zero").out.strip()
    secure.client("wait", big)
    assert len(secure.client("logs", big).stdout) == 3_000_000


def test_host_and_runner_take_tls_only(secure: Cluster) -> None:
    for program in secure.programs:
        with socket.create_connection(("127.0.0.1", program.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"this port speaks TLS" in answer
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(
                socket.create_connection(("127.0.0.1", program.port), timeout=10),
                server_hostname="127.0.0.1",
            )


def test_a_client_without_the_authority_is_told_what_to_set(secure: Cluster) -> None:
    plain = secure.run("client", "list", check=False, HAKURIVER_NETWORK_TLS_CA="")
    assert (plain.returncode, "speaks TLS" in plain.err) == (5, True), plain.err
    assert "tls_ca" in plain.err


def test_another_authority_is_not_believed(secure: Cluster, tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "other")
    done = secure.run("client", "list", check=False, HAKURIVER_NETWORK_TLS_CA=str(other.ca))
    assert done.returncode == 3
    assert "the certificate of 127.0.0.1 is not accepted" in done.err


def test_a_client_that_expects_tls_says_that_there_is_none(
    cluster: Cluster, made: Certificates
) -> None:
    cluster.start_host()
    done = cluster.run("client", "list", check=False, HAKURIVER_NETWORK_TLS_CA=str(made.ca))
    assert done.returncode == 3
    assert "does not speak TLS" in done.err


def test_a_handshake_that_never_comes_holds_up_nobody(secure: Cluster) -> None:
    idle = [socket.create_connection(("127.0.0.1", secure.port), timeout=10) for _ in range(50)]
    try:
        assert secure.client("list").returncode == 0
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize("role", ["host", "runner"])
def test_a_certificate_that_cannot_be_used_is_said_at_the_start(
    cluster: Cluster, made: Certificates, role: str
) -> None:
    for cert, key in ((made.cert, made.ca), (made.cert.with_name("nowhere.pem"), made.key)):
        environ: Any = {
            "HAKURIVER_NETWORK_TLS_CERT": str(cert),
            "HAKURIVER_NETWORK_TLS_KEY": str(key),
        }
        done = cluster.run(role, check=False, timeout=15, **environ)
        assert done.returncode == 2, done.err
        assert str(cert) in done.err


def test_up_speaks_it_too(cluster: Cluster, made: Certificates) -> None:
    files: Any = {
        "HAKURIVER_NETWORK_TLS_CERT": str(made.cert),
        "HAKURIVER_NETWORK_TLS_KEY": str(made.key),
        "HAKURIVER_NETWORK_TLS_CA": str(made.ca),
    }
    done = cluster.run("up", "--once", "--", "echo", "hi", timeout=60, **files)
    assert "hi" in done.out
