"""`docker save` and `docker load` with our hands on the bytes: to count, to hash and to stop them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hakuriver.model.errors import Conflict, HakuRiverError
from hakuriver.system.command import Completed, fixed_environment
from hakuriver.system.docker import Docker, Interrupted, NoEngine, check_engine

CHUNK = 1 << 20
_HELD_BACK = 1 << 20
"""Bytes that an engine is not given before all is known to be right: the end of an archive with its
manifest.json. Without it nothing is loaded."""

_F_SETPIPE_SZ = 1031  # include/uapi/linux/fcntl.h

OnBytes = Callable[[int], None]
"""Called with the number of bytes so far; may raise to stop it all."""


class Damaged(Conflict):
    """The bytes are not those that were promised."""


def save_image(docker: Docker, image: str, target: IO[bytes], on_bytes: OnBytes) -> tuple[int, str]:
    """Write an image's archive to target; its size and SHA-256. Raises NoEngine, OSError."""
    digest, size = hashlib.sha256(), 0
    with _Program(docker, "save", image, stdout=subprocess.PIPE) as program:
        source = program.stdout
        while piece := source.read(CHUNK):
            target.write(piece)
            digest.update(piece)
            size += len(piece)
            on_bytes(size)
        done = program.end()
    _check(done, "docker save")
    return size, digest.hexdigest()


def load_image(docker: Docker, path: Path, *, sha256: str, size: int, on_bytes: OnBytes) -> str:
    """Give an archive to the engine; what docker said. sha256 "" is not checked.

    Raises Damaged, and then nothing was loaded; Interrupted; NoEngine; FileNotFoundError and other
    OSErrors of the archive; HakuRiverError with docker's words.
    """
    digest, done_bytes = hashlib.sha256(), 0
    with open(path, "rb") as source, _Program(docker, "load", stdin=subprocess.PIPE) as program:
        if os.fstat(source.fileno()).st_size != size:
            raise Damaged(f"{path.name} does not have the {size} bytes of its manifest")
        held = b""
        while piece := source.read(CHUNK):
            digest.update(piece)
            done_bytes += len(piece)
            held += piece
            # A docker that is gone has said why on stderr: no reason to read on.
            if not program.feed(held[:-_HELD_BACK]):
                break
            held = held[-_HELD_BACK:]
            on_bytes(done_bytes)
        else:
            if done_bytes != size or (sha256 and digest.hexdigest() != sha256):
                raise Damaged(f"{path.name} is damaged: its SHA-256 is not that of its manifest")
            program.feed(held)
        done = program.end()
    _check(done, "docker load")
    return done.text


def _check(done: Completed, what: str) -> None:
    if done.code < 0 or done.code > 128:
        raise Interrupted(f"{what} was stopped by a signal")
    if done.code:
        check_engine(done)
        raise HakuRiverError(f"{what}: {done.error}")


class _Program:
    """A docker command that we stream from or to; killed, with all that is its, if left early."""

    def __init__(
        self, docker: Docker, *arguments: str, stdin: int | None = None, stdout: int | None = None
    ) -> None:
        self._argv = [*docker.argv, *arguments]
        self._stdin = subprocess.DEVNULL if stdin is None else stdin
        self._piped_out = stdout is not None
        # Files, so that no pipe that nobody reads can hold the program up.
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> _Program:
        try:
            self._process = subprocess.Popen(
                self._argv,
                stdin=self._stdin,
                stdout=subprocess.PIPE if self._piped_out else self._out,
                stderr=self._err,
                env=fixed_environment(),
                start_new_session=True,
            )
        except FileNotFoundError:
            self._close()
            raise NoEngine(
                f"there is no program {self._argv[0]} on this machine", "Install Docker."
            ) from None
        except OSError as error:
            self._close()
            raise NoEngine(f"cannot run {self._argv[0]}: {error.strerror}") from None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # Both sides work at the same time then; a user may have used up all large pipes.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(pipe, _F_SETPIPE_SZ, CHUNK)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            # The group: behind sudo it is a child that reads from us, and takes the end of its input
            # for the end of the archive.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._close()

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def feed(self, piece: bytes) -> bool:
        """False if the program does not read any more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(piece)
        except BrokenPipeError:
            return False
        return True

    def end(self) -> Completed:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        code = self._process.wait()
        return Completed(code, self._content(self._out), self._content(self._err))

    @staticmethod
    def _content(file: IO[bytes]) -> bytes:
        file.seek(0)
        return file.read()

    def _close(self) -> None:
        self._out.close()
        self._err.close()
