"""So many runs at once: started, waited for, stopped. One thread, one poll().

Every run is a session of its own, so that a signal reaches all of it and the terminal's Ctrl-C
reaches us alone; what left its session is found by its mark (strays.py).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from hakuriver.hakurun.capture import Capture, Stream
from hakuriver.hakurun.strays import MARKS, signal_all, with_mark
from hakuriver.hakurun.target import UNIGNORED

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL, as for the tasks of a cluster."""
LOOK_AGAIN = 0.05
STOPPERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIMED_OUT = 124
STOPPED = "stopped"

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


@dataclass(frozen=True, slots=True)
class Run:
    """number counts from 1. words: as the user said it; argv: what is started for it, at path."""

    number: int
    words: tuple[str, ...]
    path: str
    argv: list[str]
    environ: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """started in seconds since 1970. why: a timeout, or that we stopped it; "" by itself."""

    run: Run
    code: int
    signal: int
    started: float
    seconds: float
    why: str
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and not self.why

    @property
    def stopped_by_us(self) -> bool:
        return self.why == STOPPED


@dataclass(slots=True)
class _Running:
    run: Run
    pid: int
    mark: str
    stream: Stream
    started: float
    began: float
    deadline: float | None
    why: str = ""
    asked: int = 0  # the signal that we sent first
    kill_at: float | None = None
    status: int | None = None  # of its first process, once that has ended
    fds: set[int] = field(default_factory=set)


class Pool:
    """run() returns when nothing is left of what it started, whatever happens."""

    def __init__(
        self,
        runs: Iterator[Run],
        *,
        slots: int,
        capture: Capture,
        timeout: float | None,
        ended: Callable[[Ended], None],
        tick: Callable[[int], None],
        told: Callable[[str], None],
        lasting: float | None = None,
    ) -> None:
        """tick is called with the number of runs at work, every `lasting` seconds at least."""
        self._runs = runs
        self._slots = slots
        self._capture = capture
        self._timeout = timeout
        self._ended = ended
        self._tick = tick
        self._told = told
        self._lasting = lasting
        self._running: dict[int, _Running] = {}
        self._by_fd: dict[int, _Running] = {}
        self._poll = select.poll()
        self._signals: list[int] = []
        self._stopping = False
        self._sweep = f"{os.getpid():x}-{time.time_ns():x}"
        self.signal = 0  # what ended the sweep from outside, if anything has

    def run(self) -> None:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(read, select.POLLIN)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        handlers = {number: self._catch(number) for number in (signal.SIGCHLD, *STOPPERS)}
        try:
            self._loop(read)
        finally:
            self._finish(read)
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(read)
            os.close(write)

    def stop(self, number: int) -> None:
        """Start nothing more, and end what runs; SIGKILL follows unless a person can decide."""
        again, self._stopping = self._stopping, True
        grace = None if number == signal.SIGINT else GRACE
        for each in list(self._running.values()):
            if again or number == signal.SIGKILL:
                self._signal(each, signal.SIGKILL, STOPPED, None)
            else:
                self._signal(each, number, STOPPED, grace)

    def fail_fast(self, number: int) -> None:
        """As stop(), and once is enough."""
        if not self._stopping:
            self.stop(number)

    def _catch(self, number: int) -> Handler:
        if number in STOPPERS and signal.getsignal(number) == signal.SIG_IGN:
            return signal.SIG_IGN  # nohup, or a shell that started us in the background
        return signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _loop(self, wakeup: int) -> None:
        while True:
            while not self._stopping and len(self._running) < self._slots:
                run = next(self._runs, None)
                if run is None or self._stopping:  # looking for it may have ended everything
                    break
                self._start(run)
            if not self._running:
                return
            self._tick(len(self._running))
            self._wait(wakeup)

    def _finish(self, wakeup: int) -> None:
        """Nobody hears us any more, or we failed: end what runs without a word."""
        if self._running:
            self._ended = lambda _: None
            self._told = lambda _: None
            self.stop(signal.SIGTERM)
        for each in [*self._running.values(), *self._by_fd.values()]:
            each.stream.abandon()
        while self._running:
            self._reap()  # the word that one has ended may be read already
            if self._running:
                self._wait(wakeup)

    def _start(self, run: Run) -> None:
        stream = self._capture.open(run.number, run.words)
        mark = f"{self._sweep}.{run.number}"
        environ = {**run.environ, MARKS: with_mark(run.environ, mark)}
        now = time.monotonic()
        started = time.time()
        try:
            pid = _spawn(run, environ, stream)
        except (OSError, ValueError) as error:
            stream.started()
            stream.finish(f"cannot be started: {_why(error)}")
            self._ended(Ended(run, _code_of(error), 0, started, 0.0, "", _why(error)))
            return
        stream.started()
        deadline = None if self._timeout is None else now + self._timeout
        each = _Running(run, pid, mark, stream, started, now, deadline)
        self._running[pid] = each
        for descriptor in stream.fds:
            each.fds.add(descriptor)
            self._by_fd[descriptor] = each
            self._poll.register(descriptor, select.POLLIN)

    def _wait(self, wakeup: int) -> None:
        reap = False
        for descriptor, _ in self._poll.poll(self._until_next()):
            if descriptor == wakeup:
                os.read(wakeup, 4096)
                reap = True
            elif (each := self._by_fd.get(descriptor)) and not each.stream.take(descriptor):
                self._forget(each, descriptor)
        while self._signals:
            self._interrupted(self._signals.pop(0))
        if reap:
            self._reap()
        if self._timeout is not None or self._stopping:
            self._overdue()

    def _until_next(self) -> float | None:
        """Milliseconds that nothing has to happen by itself."""
        now = time.monotonic()
        times = [] if self._lasting is None else [now + self._lasting]
        if self._timeout is not None or self._stopping:
            for each in self._running.values():
                times += [t for t in (each.deadline, each.kill_at) if t is not None]
                if each.status is not None:
                    times.append(now + LOOK_AGAIN)
        return max(0.0, min(times) - now) * 1000 + 1 if times else None

    def _interrupted(self, number: int) -> None:
        self.signal = self.signal or number
        again = self._stopping
        if self._running:
            count = len(self._running)
            runs = f"{count} run{'s' if count > 1 else ''}"
            self._told(f"killing {runs}" if again else f"stopping {runs}; Ctrl-C again kills them")
        self.stop(number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            each = self._running.get(pid)
            if each is None:
                continue
            each.status = status
            # What we ended is over when all of it is: its parts may still be saving something.
            if each.why and signal_all(each.pid, each.mark, self._reminder(each)):
                if each.kill_at is None:
                    each.kill_at = time.monotonic() + GRACE
            else:
                self._end(each)

    @staticmethod
    def _reminder(each: _Running) -> int:
        """What shells start in the background ignores Ctrl-C."""
        return signal.SIGTERM if each.asked == signal.SIGINT else 0

    def _overdue(self) -> None:
        now = time.monotonic()
        for each in list(self._running.values()):
            if each.deadline is not None and now >= each.deadline and not each.why:
                each.deadline = None
                self._signal(each, signal.SIGTERM, f"timed out after {self._timeout:g} s", GRACE)
            if each.kill_at is not None and now >= each.kill_at:
                each.kill_at = now + LOOK_AGAIN  # until nothing is left: it may be forking
                signal_all(each.pid, each.mark, signal.SIGKILL)
            if each.status is not None and not signal_all(each.pid, each.mark, 0):
                self._end(each)

    def _signal(self, each: _Running, number: int, why: str, grace: float | None) -> None:
        each.why = each.why or why
        each.asked = each.asked or number
        each.deadline = None
        if number == signal.SIGKILL:
            each.kill_at = time.monotonic()
        else:
            signal_all(each.pid, each.mark, number)
            signal_all(each.pid, each.mark, signal.SIGCONT)  # one that is stopped hears nothing
            each.kill_at = None if grace is None else time.monotonic() + grace

    def _end(self, each: _Running) -> None:
        assert each.status is not None
        del self._running[each.pid]
        for descriptor in each.fds.copy():
            each.stream.drain(descriptor)
            self._forget(each, descriptor)
        code = os.waitstatus_to_exitcode(each.status)
        number = -code if code < 0 else 0
        code = 128 + number if code < 0 else code
        if each.why and each.why != STOPPED:
            code = TIMED_OUT
        seconds = time.monotonic() - each.began
        ended = Ended(each.run, code, number, each.started, seconds, each.why)
        each.stream.finish("" if ended.succeeded else outcome(ended))
        self._ended(ended)

    def _forget(self, each: _Running, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._by_fd[descriptor]
        each.fds.discard(descriptor)
        os.close(descriptor)


def outcome(ended: Ended) -> str:
    """How a run failed, for people."""
    if ended.error:
        return f"cannot be started: {ended.error}"
    if ended.why:
        return ended.why
    if ended.signal:
        return (
            f"ended by {signal.Signals(ended.signal).name}"
            if _named(ended.signal)
            else (f"ended by signal {ended.signal}")
        )
    return f"exit code {ended.code}"


def _named(number: int) -> bool:
    return number in {each.value for each in signal.Signals}


def _spawn(run: Run, environ: dict[str, str], stream: Stream) -> int:
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]  # type: ignore[list-item]
    actions += [(os.POSIX_SPAWN_DUP2, own, theirs) for own, theirs in stream.given]
    for path, argv in ((run.path, run.argv), ("/bin/sh", ["sh", run.path, *run.argv[1:]])):
        try:
            return os.posix_spawn(
                path, argv, environ, file_actions=actions, setsid=True, setsigdef=UNIGNORED
            )
        except OSError as error:
            if error.errno != errno.ENOEXEC:  # a script without #!, which a shell runs itself
                raise
    raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _code_of(error: OSError | ValueError) -> int:
    return 127 if isinstance(error, FileNotFoundError) else 126
