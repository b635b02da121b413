"""TLS around a connection, so that everything else goes on speaking to a plain socket.

Both sides of a shell read and write at the same time, connections are peeked at, duplicated and cut
by other threads: none of that is possible on an SSLSocket. So one thread for each connection
carries bytes between it and one end of a socket pair, and we hold the other end.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hakuriver.model.errors import UsageError
from hakuriver.system.config import is_file

HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 10.0
_PIECE = 1 << 16
_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection: RFC 8446, section 5.1."""


class NotTls(OSError):
    """The peer spoke first, and not TLS."""


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """For who is called. key may be in the file of the certificate. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name, path in (("tls_cert", cert), ("tls_key", key or cert)):
        if not is_file(Path(path)):
            raise UsageError(f"network.{name}: there is no file {path}")
    try:
        context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"cannot use the certificate {cert}: {_reason(error)}",
            "network.tls_cert and network.tls_key have to be a pair, in PEM.",
        ) from None
    return context


@lru_cache(maxsize=4)
def client_context(ca: str) -> ssl.SSLContext:
    """For who calls; ca "" means those that the system trusts. Raises UsageError."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use network.tls_ca {ca}: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 asks for extensions that authorities of labs often lack; what is believed must not
    # depend on the Python of a node.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def accepted(connection: socket.socket, context: ssl.SSLContext) -> socket.socket:
    """The plain end of a connection that was accepted. Raises NotTls, OSError.

    The connection's own timeout bounds each step.
    """
    if connection.recv(1, socket.MSG_PEEK) not in (_HANDSHAKE, b""):
        raise NotTls
    return _plain_end(context.wrap_socket(connection, server_side=True))


def connected(connection: socket.socket, ca: str, host: str) -> socket.socket:
    """The plain end of a connection that was made to host. Raises OSError, and UsageError."""
    return _plain_end(client_context(ca).wrap_socket(connection, server_hostname=host))


def why(error: OSError, host: str) -> str:
    """What went wrong in a handshake, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {host} is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"):
            return f"{host} does not speak TLS on this port"
        return f"TLS with {host} failed ({_reason(error)})"
    return f"TLS with {host} failed (connection broken)"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(reason).replace("_", " ").lower()


def _plain_end(secured: ssl.SSLSocket) -> socket.socket:
    ours, theirs = socket.socketpair()
    secured.setblocking(False)
    theirs.setblocking(False)
    threading.Thread(target=_Pump(secured, theirs).run, name="tls", daemon=True).start()
    return ours


class _Pump:
    """Carries bytes both ways; never holds more than one piece of each.

    We may end our direction and go on reading, but once the peer has ended, it is over for both:
    without a close_notify OpenSSL sends nothing more, and with one of ours it reads nothing more.
    Once our end is closed, only what we had said is still sent, to a peer that goes on taking it:
    whoever keeps a connection open, or takes nothing, must not keep this thread with it.
    """

    def __init__(self, secured: ssl.SSLSocket, plain: socket.socket) -> None:
        self._secured, self._plain = secured, plain
        self._in, self._out = b"", b""  # What is on its way to us, and from us.
        self._in_over = self._out_over = self._closed = False
        self._waits: dict[str, int] = {}

    def run(self) -> None:
        with self._secured, self._plain, suppress(OSError):
            while not self._over():
                if not self._step():
                    self._wait()

    def _over(self) -> bool:
        if self._closed and self._out_over and not self._out:
            return True
        return self._in_over and not self._in

    def _step(self) -> bool:
        """Whatever can be done now; False if there was nothing."""
        moved = False
        self._waits = {}
        if not self._in and not self._in_over:
            moved |= self._receive()
        if self._in:
            moved |= self._deliver()
        if not self._out and not self._out_over:
            moved |= self._collect()
        if self._out:
            moved |= self._send()
        return moved

    def _receive(self) -> bool:
        try:
            self._in = self._secured.recv(_PIECE)
            self._in_over = not self._in
            return True
        except ssl.SSLWantReadError:
            self._waits["receive"] = select.POLLIN
        except ssl.SSLWantWriteError:
            self._waits["receive"] = select.POLLOUT
        except ssl.SSLError:
            # Cut off without a goodbye: for whoever reads, the connection is over.
            self._in_over = True
            return True
        return False

    def _send(self) -> bool:
        try:
            self._out = self._out[self._secured.send(self._out) :]
            return True
        except ssl.SSLWantReadError:
            self._waits["send"] = select.POLLIN
        except ssl.SSLWantWriteError:
            self._waits["send"] = select.POLLOUT
        return False

    def _deliver(self) -> bool:
        try:
            self._in = self._in[self._plain.send(self._in) :]
            return True
        except BlockingIOError:
            return False
        except OSError:
            # Nobody here reads it any more.
            self._in, self._in_over = b"", True
            return True

    def _collect(self) -> bool:
        try:
            self._out = self._plain.recv(_PIECE)
        except BlockingIOError:
            return False
        if not self._out:
            self._out_over = True
            socket.socket.shutdown(self._secured, socket.SHUT_WR)
        return True

    def _wait(self) -> None:
        """Until something can be done. Raises TimeoutError for a peer that keeps us waiting."""
        poll = select.poll()
        secured = 0
        for events in self._waits.values():
            secured |= events
        if secured:
            poll.register(self._secured, secured)
        # Hang-ups are told whatever is asked for, and once they are known, again and again.
        if not self._closed:
            wanted = (select.POLLOUT if self._in else 0) | (
                0 if self._out or self._out_over else select.POLLIN
            )
            poll.register(self._plain, wanted)
        found = poll.poll(_GOODBYE_SECONDS * 1000 if self._closed else None)
        if not found:
            raise TimeoutError
        self._closed = self._closed or any(
            descriptor == self._plain.fileno() and events & select.POLLHUP
            for descriptor, events in found
        )
