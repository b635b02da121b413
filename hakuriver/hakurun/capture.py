"""Where the output of the runs goes: straight through, whole behind each other, by line, to files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from hakuriver.hakurun.quoting import quoted
from hakuriver.hakurun.screen import Screen
from hakuriver.model.errors import HakuRiverError, UsageError

CHUNK = 1 << 16
DRAIN_MAX = 64
"""Chunks that are read of a run that has ended: somebody it left behind may write for ever."""
IN_MEMORY = 1 << 18
LINE_MAX = 1 << 16


class Stream(Protocol):
    """One run's output. given: (descriptor of ours, the run's 1 or 2), open until started().

    fds are read with take(), which says whether more can come, while the run lasts; drain() reads
    what is still there at its end. finish() has the last word: how it failed, or "".
    abandon(): whatever comes, nobody wants it.
    """

    @property
    def given(self) -> Sequence[tuple[int, int]]: ...
    @property
    def fds(self) -> Sequence[int]: ...
    def started(self) -> None: ...
    def take(self, descriptor: int) -> bool: ...
    def drain(self, descriptor: int) -> None: ...
    def finish(self, failure: str) -> None: ...
    def abandon(self) -> None: ...


class Capture(Protocol):
    def open(self, number: int, words: Sequence[str]) -> Stream: ...


class _Through:
    """The run writes where we do, or into files."""

    fds: Sequence[int] = ()

    def __init__(self, given: Sequence[tuple[int, int]] = ()) -> None:
        self.given = given

    def started(self) -> None:
        for own, _ in self.given:
            os.close(own)

    def take(self, descriptor: int) -> bool:
        return False

    def drain(self, descriptor: int) -> None: ...

    def finish(self, failure: str) -> None: ...

    def abandon(self) -> None: ...


class Raw:
    """As it comes. labelled: a line before each run, where only one is at work at a time."""

    def __init__(self, screen: Screen, *, labelled: bool) -> None:
        self._screen = screen
        self._labelled = labelled

    def open(self, number: int, words: Sequence[str]) -> Stream:
        if self._labelled:
            self._screen.label(number, quoted(words))
        self._screen.clear()
        return _Through()


class Files:
    """FOLDER/NUMBER.out and NUMBER.err, of each run."""

    def __init__(self, folder: Path, total: int) -> None:
        self._folder = folder
        self._width = len(str(total))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write output to {folder}: {error.strerror}") from None

    def open(self, number: int, words: Sequence[str]) -> Stream:
        given: list[tuple[int, int]] = []
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        for theirs, ending in ((1, "out"), (2, "err")):
            path = self._folder / f"{number:0{self._width}d}.{ending}"
            try:
                given.append((os.open(path, flags, 0o666), theirs))
            except OSError as error:
                raise HakuRiverError(f"cannot write output to {path}: {error.strerror}") from None
        return _Through(given)


class _Piped:
    """Reads both of a run's pipes; what to do with it is said by write() and close()."""

    def __init__(self, screen: Screen, number: int, words: Sequence[str]) -> None:
        self.screen = screen
        self.number = number
        self.words = words
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in (1, 2)]
        self.fds = tuple(read for read, _ in pipes)
        self.given = tuple((write, theirs) for theirs, (_, write) in enumerate(pipes, 1))
        self._theirs = dict(zip(self.fds, (1, 2), strict=True))
        self._abandoned = False

    def started(self) -> None:
        for own, _ in self.given:
            os.close(own)

    def take(self, descriptor: int) -> bool:
        data = os.read(descriptor, CHUNK)
        if data and not self._abandoned:
            self.write(self._theirs[descriptor], data)
        return bool(data)

    def drain(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        try:
            for _ in range(DRAIN_MAX):
                if not self.take(descriptor):
                    return
        except BlockingIOError:
            return

    def finish(self, failure: str) -> None:
        if not self._abandoned:
            self.close(failure)

    def abandon(self) -> None:
        self._abandoned = True

    def write(self, theirs: int, data: bytes) -> None:
        raise NotImplementedError

    def close(self, failure: str) -> None:
        raise NotImplementedError


class Group:
    """A run's output at its end, whole; large output waits in a temporary file."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def open(self, number: int, words: Sequence[str]) -> Stream:
        return _Grouped(self._screen, number, words)


class _Grouped(_Piped):
    def __init__(self, screen: Screen, number: int, words: Sequence[str]) -> None:
        super().__init__(screen, number, words)
        self._kept: dict[int, list[bytes]] = {1: [], 2: []}
        self._sizes = {1: 0, 2: 0}
        self._files: dict[int, IO[bytes]] = {}

    def write(self, theirs: int, data: bytes) -> None:
        self._sizes[theirs] += len(data)
        if theirs in self._files:
            self._spill(theirs, data)
            return
        self._kept[theirs].append(data)
        if self._sizes[theirs] > IN_MEMORY:
            try:
                self._files[theirs] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
            except OSError as error:
                raise _cannot_keep(error) from None
            self._spill(theirs, b"".join(self._kept[theirs]))
            self._kept[theirs].clear()

    def _spill(self, theirs: int, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._files[theirs].write(left) :]
        except OSError as error:
            raise _cannot_keep(error) from None

    def close(self, failure: str) -> None:
        if failure or any(self._sizes.values()):
            self.screen.label(self.number, quoted(self.words), failure)
        for theirs in (1, 2):
            for data in self._kept[theirs]:
                self.screen.write(theirs, data)
            if theirs in self._files:
                self._files[theirs].seek(0)
                while data := self._files[theirs].read(1 << 20):
                    self.screen.write(theirs, data)
                self._files[theirs].close()


def _cannot_keep(error: OSError) -> HakuRiverError:
    return HakuRiverError(
        f"cannot keep the output of a run in {tempfile.gettempdir()}: {error.strerror}",
        "Set TMPDIR to a folder with room, or use --output DIR, prefix or raw.",
    )


class Prefix:
    """Every line as it comes, behind the number of its run."""

    def __init__(self, screen: Screen, total: int) -> None:
        self._screen = screen
        self._width = len(str(total))

    def open(self, number: int, words: Sequence[str]) -> Stream:
        return _Prefixed(self._screen, number, words, self._width)


class _Prefixed(_Piped):
    def __init__(self, screen: Screen, number: int, words: Sequence[str], width: int) -> None:
        super().__init__(screen, number, words)
        self._prefix = f"[{number:{width}d}] ".encode()
        self._rests = {1: b"", 2: b""}
        screen.label(number, quoted(words))

    def write(self, theirs: int, data: bytes) -> None:
        *lines, rest = (self._rests[theirs] + data).split(b"\n")
        if len(rest) > LINE_MAX:
            lines.append(rest)
            rest = b""
        self._rests[theirs] = rest
        if lines:
            self.screen.write(theirs, b"".join(self._prefix + line + b"\n" for line in lines))

    def close(self, failure: str) -> None:
        for theirs, rest in self._rests.items():
            if rest:
                self.screen.write(theirs, self._prefix + rest + b"\n")
        if failure:
            self.screen.label(self.number, quoted(self.words), failure)
