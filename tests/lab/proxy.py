"""A small TCP proxy between programs: a cable that can be slow, dead, or torn in mid-sentence."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

from tests.support.wait import wait_until

_CHUNK = 65536
_CONNECT_SECONDS = 2.0


class Proxy:
    """Listens on (address, a free port), forwards to target(), which may move.

    delay is in seconds, for each piece in each direction; while dead is set, nothing is forwarded
    and nothing is closed, as behind a cable that was cut; tear() breaks all that is open.
    """

    def __init__(self, address: str, target: tuple[str, int], rng: random.Random) -> None:
        self.target = target
        self.delay = 0.0
        self.dead = threading.Event()
        self._rng = rng
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        # Closing alone does not wake an accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.tear()

    def tear(self) -> None:
        with self._lock:
            torn, self._open = list(self._open), set()
        for each in torn:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), name="proxy", daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        with near:
            self._wait_alive()
            try:
                far = socket.create_connection(self.target, timeout=_CONNECT_SECONDS)
            except OSError:
                return
            with far:
                far.settimeout(None)
                with self._lock:
                    self._open |= {near, far}
                back = threading.Thread(
                    target=self._pump, args=(far, near), name="proxy", daemon=True
                )
                back.start()
                self._pump(near, far)
                back.join()
                with self._lock:
                    self._open -= {near, far}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(_CHUNK):
                self._wait_alive()
                if self.delay:
                    self._stopping.wait(self._rng.uniform(0, 2 * self.delay))
                sink.sendall(piece)
        except OSError:
            pass
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _wait_alive(self) -> None:
        if self.dead.is_set():
            wait_until(
                lambda: not self.dead.is_set() or self._stopping.is_set(),
                timeout=3600, message="the cable is mended",
            )  # fmt: skip
