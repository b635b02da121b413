"""The terminals of pages: how many, whose, and their ends. The command is played, the page is not."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hakuriver.host.terminals import TERMINALS_MAX, Terminals
from hakuriver.model.errors import Conflict, Unavailable
from hakuriver.system.bridge import Session, Stream
from hakuriver.system.frames import Exit, Size
from hakuriver.system.kept_channel import KeptChannel
from tests.support.wait import wait_until
from tests.system.test_websocket import masked

PLACE = "/task/1/terminal"


class Command:
    """Writes what it is told, never reads more than `reads` messages, and ends when hung up."""

    def __init__(self) -> None:
        self.outputs: queue.Queue[bytes | None] = queue.Queue()
        self.inputs: list[bytes] = []
        self.sizes: list[Size] = []
        self.reads = threading.Event()
        self.reads.set()
        self.over = threading.Event()

    def read(self) -> tuple[Stream, bytes] | None:
        data = self.outputs.get()
        return None if data is None else ("stdout", data)

    def exit(self) -> Exit:
        return Exit(3)

    def write(self, data: bytes) -> None:
        self.reads.wait()
        self.inputs.append(data)

    def close_input(self) -> None: ...

    def resize(self, size: Size) -> None:
        self.sizes.append(size)

    def hang_up(self) -> None:
        self.over.set()
        self.reads.set()
        self.outputs.put(None)


class Peer:
    """A page at the other end of a channel; serve() runs in a thread, as in the server."""

    def __init__(self, terminals: Terminals, session: Session, **more: object) -> None:
        self.socket, ours = socket.socketpair()
        self.stream = self.socket.makefile("rb")
        self.error: Exception | None = None
        resumed, at = more.get("resumed"), more.get("at", 0)
        assert isinstance(at, int)

        def serve() -> None:
            try:
                terminals.serve(KeptChannel(ours), PLACE, lambda: session, resumed=resumed, at=at)  # type: ignore[arg-type]
            except Unavailable as error:
                self.error = error
            ours.close()

        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()

    def next(self, *, answers: bool = True) -> dict[str, object] | None:
        """The next message that is none of the protocol's own; None at the end."""
        while len(head := self.stream.read(2)) == 2:
            length = head[1]
            if length == 126:
                length = int.from_bytes(self.stream.read(2), "big")
            elif length == 127:
                length = int.from_bytes(self.stream.read(8), "big")
            data = self.stream.read(length)
            if head[0] & 15 == 9 and answers:
                self.socket.sendall(masked(0x8A, data))
            if head[0] & 15 == 1:
                message = json.loads(data)
                assert isinstance(message, dict)
                return message
        return None

    def name(self) -> str:
        message = self.next()
        assert message is not None
        return str(message["session"])

    def say(self, **message: object) -> None:
        self.socket.sendall(masked(0x81, json.dumps(message).encode()))

    def close(self) -> None:
        self.leave()
        self.stream.close()
        self.socket.close()

    def leave(self) -> None:
        with contextlib.suppress(OSError):  # It has left before.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        assert not self.thread.is_alive()


Visit = Callable[..., Peer]


@pytest.fixture
def visit() -> Iterator[Visit]:
    made: list[Peer] = []

    def make(terminals: Terminals, command: Command | None = None, **more: object) -> Peer:
        made.append(Peer(terminals, command or Command(), **more))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


@pytest.fixture
def terminals() -> Iterator[Terminals]:
    made = Terminals(60)
    yield made
    made.stop()


def test_there_is_a_most_and_an_end_makes_room(terminals: Terminals, visit: Visit) -> None:
    commands = [Command() for _ in range(TERMINALS_MAX)]
    peers = [visit(terminals, command) for command in commands]
    for peer in peers:
        peer.name()
    for peer in peers[:3]:
        peer.leave()
    late = visit(terminals)
    late.thread.join(10)
    assert late.error is not None
    peers[5].say(type="close")
    wait_until(commands[5].over.is_set)
    wait_until(lambda: visit(terminals).next(), message="there is room again")


def test_what_cannot_be_opened_takes_no_place(terminals: Terminals) -> None:
    def refuse() -> Session:
        raise Conflict("not now")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(TERMINALS_MAX + 1):
            with pytest.raises(Conflict):
                terminals.serve(KeptChannel(ours), PLACE, refuse, resumed=None, at=0)


def test_the_names_are_not_alike(terminals: Terminals, visit: Visit) -> None:
    names = {visit(terminals).name() for _ in range(5)}
    assert len(names) == 5
    assert min(map(len, names)) >= 40


def test_stop_ends_those_that_are_there_and_opens_no_more(visit: Visit) -> None:
    terminals, commands = Terminals(60), [Command(), Command()]
    there, away = (visit(terminals, command) for command in commands)
    names = [there.name(), away.name()]
    away.leave()
    terminals.stop()
    assert all(command.over.is_set() for command in commands)
    assert there.next() is None
    assert [visit(terminals, resumed=name).next() for name in names] == [{"type": "gone"}] * 2
    late = visit(terminals)
    late.thread.join(10)
    assert late.error is not None


def test_one_that_was_being_opened_when_all_stopped_is_ended(visit: Visit) -> None:
    terminals, command = Terminals(60), Command()
    begun, go = threading.Event(), threading.Event()

    def opening() -> Session:
        begun.set()
        go.wait()
        return command

    ours, theirs = socket.socketpair()
    with ours, theirs:
        failed: list[Exception] = []

        def serve() -> None:
            try:
                terminals.serve(KeptChannel(ours), PLACE, opening, resumed=None, at=0)
            except Unavailable as error:
                failed.append(error)

        threads = [threading.Thread(target=serve), threading.Thread(target=terminals.stop)]
        threads[0].start()
        begun.wait()
        threads[1].start()
        wait_until(lambda: is_stopping(terminals, visit))
        go.set()
        for thread in threads:
            thread.join(10)
        assert command.over.is_set()
        assert len(failed) == 1


def is_stopping(terminals: Terminals, visit: Visit) -> bool:
    late = visit(terminals)
    if late.error is None:
        late.leave()
    return late.error is not None


def test_a_character_that_is_cut_in_two_is_whole_for_who_comes_back(
    terminals: Terminals, visit: Visit
) -> None:
    command = Command()
    peer = visit(terminals, command)
    name = peer.name()
    text = "a\u6cb3".encode()
    command.outputs.put(text[:2])
    assert peer.next() == {"type": "output", "data": "a", "at": 1}
    peer.leave()
    command.outputs.put(text[2:])
    peer = visit(terminals, command, resumed=name, at=1)
    assert peer.next() == {"type": "session", "session": name, "at": 1}
    assert peer.next() == {"type": "output", "data": "\u6cb3", "at": 4}


def test_what_was_typed_before_the_connection_broke_is_not_lost(
    terminals: Terminals, visit: Visit
) -> None:
    command = Command()
    command.reads.clear()
    peer = visit(terminals, command)
    name = peer.name()
    peer.say(type="input", data="one")
    peer.say(type="input", data="two")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.thread.join(10)
    again = visit(terminals, command, resumed=name)
    again.name()
    again.say(type="resize", rows=5, cols=6)
    again.say(type="input", data="three")
    command.reads.set()
    wait_until(lambda: command.inputs == [b"one", b"two", b"three"])
    assert command.sizes == [Size(5, 6)]


def test_a_command_that_does_not_read_holds_up_neither_output_nor_the_next_page(
    terminals: Terminals, visit: Visit
) -> None:
    command = Command()
    command.reads.clear()
    peer = visit(terminals, command)
    name = peer.name()
    for _ in range(4):
        peer.say(type="input", data="x" * 400_000)
    command.outputs.put(b"still here")
    message = peer.next()
    assert message is not None
    assert message["data"] == "still here"
    again = visit(terminals, command, resumed=name, at=10)
    again.name()
    again.say(type="close")
    wait_until(command.over.is_set)


def test_a_page_that_does_not_answer_is_not_sent_more_than_is_kept(
    terminals: Terminals, visit: Visit
) -> None:
    """What it says nothing about may not have arrived, and is kept for it."""
    command, size = Command(), 3_000_000
    for _ in range(30):
        command.outputs.put(b"x" * (size // 30))
    peer = visit(terminals, command)
    name = peer.name()
    got = 0
    while got < 1 << 20:
        message = peer.next(answers=False)
        assert message is not None
        got += len(str(message["data"]))
    assert got == 1 << 20
    peer.leave()
    again = visit(terminals, command, resumed=name)
    assert again.next() == {"type": "session", "session": name, "at": 0}
    got = 0
    while got < size:
        message = again.next()
        assert message is not None
        got += len(str(message["data"]))
        assert message["at"] == got
