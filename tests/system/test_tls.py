"""A plain socket with TLS behind it behaves as the TCP connection would."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.system import tls
from hakuriver.system.tls import (
    NotTls,
    accepted,
    client_context,
    connected,
    server_context,
    why,
)
from tests.support.certificates import Certificates, make_certificates
from tests.support.wait import wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


Pair = tuple[socket.socket, socket.socket]


def pair(made: Certificates) -> Pair:
    """(client's plain end, server's plain end)"""
    context = server_context(str(made.cert), str(made.key))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ends: list[socket.socket] = []

        def serve() -> None:
            connection, _ = listener.accept()
            connection.settimeout(10)
            with suppress(OSError):
                ends.append(accepted(connection, context))

        server = threading.Thread(target=serve)
        server.start()
        raw = socket.create_connection(listener.getsockname(), timeout=10)
        client = connected(raw, str(made.ca), "127.0.0.1")
        server.join()
    for each in (client, ends[0]):
        each.settimeout(10)
    return client, ends[0]


def stubborn(made: Certificates) -> Pair:
    """(TLS connection of a client that has shaken hands and does nothing more, server's plain end)"""
    context = server_context(str(made.cert), str(made.key))
    near, far = socket.socketpair()
    far.settimeout(10)
    ends: list[socket.socket] = []
    server = threading.Thread(target=lambda: ends.append(accepted(far, context)))
    server.start()
    trusting = client_context(str(made.ca))
    client = trusting.wrap_socket(near, server_hostname="127.0.0.1")
    server.join()
    return client, ends[0]


@pytest.fixture
def ends(made: Certificates) -> Iterator[Pair]:
    client, server = pair(made)
    with client, server:
        yield client, server


def drain(source: socket.socket) -> bytes:
    pieces = []
    while piece := source.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_both_directions_at_once(ends: Pair) -> None:
    """8 MiB each way, from four threads: more than any buffer holds."""
    client, server = ends
    sent = {client: b"c" * 8 * MIB, server: b"s" * 8 * MIB}
    got: dict[socket.socket, bytes] = {}

    def send(end: socket.socket) -> None:
        end.sendall(sent[end])

    def receive(end: socket.socket) -> None:
        pieces = []
        while sum(len(piece) for piece in pieces) < 8 * MIB:
            pieces.append(end.recv(1 << 20))
        got[end] = b"".join(pieces)

    threads = [
        threading.Thread(target=work, args=(end,)) for end in ends for work in (send, receive)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got[client] == sent[server]
    assert got[server] == sent[client]


def test_what_was_said_before_the_end_arrives(ends: Pair) -> None:
    client, server = ends
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    server.close()
    assert drain(client) == b"answer"


def test_a_connection_can_be_peeked_at_and_duplicated(ends: Pair) -> None:
    client, server = ends
    server.sendall(b"xy")
    assert client.recv(1, socket.MSG_PEEK) == b"x"
    with client.dup() as other:
        client.close()
        assert other.recv(2) == b"xy"


def test_a_peer_that_reads_nothing_holds_the_writer_up(ends: Pair) -> None:
    client, _ = ends
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.sendall(b"x" * 64 * MIB)


def test_an_end_that_is_cut_ends_the_other(ends: Pair) -> None:
    client, server = ends
    client.shutdown(socket.SHUT_RDWR)
    assert server.recv(1) == b""


@pytest.mark.parametrize("pending", [b"", b"x" * 8 * MIB], ids=["idle", "takes nothing"])
def test_a_peer_that_stays_keeps_no_thread_once_we_are_gone(
    made: Certificates, pending: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else everybody could fill the host with threads, one forgotten connection at a time."""
    monkeypatch.setattr(tls, "_GOODBYE_SECONDS", 0.1)
    known = set(threading.enumerate())
    client, server = stubborn(made)
    with client:
        server.setblocking(False)
        with suppress(BlockingIOError):
            while pending:
                server.send(pending)
        server.close()
        wait_until(lambda: not set(threading.enumerate()) - known, message="its thread is gone")


def test_a_last_answer_arrives_although_we_are_gone(ends: Pair) -> None:
    client, server = ends
    sender = threading.Thread(target=lambda: (server.sendall(b"x" * MIB), server.close()))
    sender.start()
    assert len(drain(client)) == MIB
    sender.join()


def test_whoever_does_not_speak_tls_is_told_apart(made: Certificates) -> None:
    context = server_context(str(made.cert), str(made.key))
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(NotTls):
            accepted(far, context)


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [("IP:127.0.0.1", -1, "expired"), ("DNS:other.example", 2, "match")],
)
def test_a_certificate_that_is_wrong_is_said_to_be(
    tmp_path: Path, names: str, days: int, reason: str
) -> None:
    made = make_certificates(tmp_path, names=names, days=days)
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        pair(made)
    assert reason in why(caught.value, "127.0.0.1")


def test_files_that_are_no_pair_are_an_error_of_the_configuration(
    made: Certificates, tmp_path: Path
) -> None:
    for cert, key in ((made.cert, made.ca), (made.ca, made.key), (tmp_path / "no", made.key)):
        with pytest.raises(UsageError):
            server_context(str(cert), str(key))
