"""A network that loses, repeats, delays and reorders, between programs that crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from hakuriver.model.errors import HakuRiverError, Unreachable, error_from_json

OK, REFUSED = 200, 0
"""Statuses of answers; the second is the kernel's: nobody listens at that port."""


class Crash(BaseException):
    """This program was killed with SIGKILL, at this very point."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.name)
        self.program = program


class Program(Protocol):
    """One life of a host or runner; a restart makes another one of the same name."""

    name: str
    alive: bool

    def handle(self, route: str, document: Any) -> dict[str, Any]:
        """Answer a request. Raises HakuRiverError, or Crash."""
        ...

    def die(self) -> None: ...


@dataclass(slots=True, eq=False)
class Call:
    """A question that somebody waits for.

    take() gets every answer that arrives, also twice and after the caller has given up, if it still
    lives; then() and fail() are called once, and only for the first.
    """

    caller: Program
    to: str
    route: str
    take: Callable[[Any], None]
    then: Callable[[], None]
    fail: Callable[[HakuRiverError], None]
    done: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """text is JSON; status None: a request."""

    call: Call
    text: str
    status: int | None = None

    def __str__(self) -> str:
        what = "request" if self.status is None else f"answer {self.status}"
        return f"{self.call.caller.name}->{self.call.to} {self.call.route} {what} {self.text[:160]}"


class Network:
    """find() says which program has an address now. cut holds names that nothing reaches or leaves.

    requests are all that were ever sent: the network may have kept a copy of any of them.
    """

    def __init__(self, rng: Random, find: Callable[[str], Program | None]) -> None:
        self._rng = rng
        self._find = find
        self.packets: list[Packet] = []
        self.requests: list[Packet] = []
        self.waiting: list[Call] = []
        self.cut: set[str] = set()

    def call(self, call: Call, document: dict[str, Any]) -> None:
        self.waiting.append(call)
        if self._find(call.to) is None and not self._is_cut(call) and self._rng.random() < 0.7:
            # The machine is there, the program is not: the request goes nowhere.
            self.packets.append(Packet(call, "", REFUSED))
        else:
            self.packets.append(Packet(call, json.dumps(document)))
            self.requests.append(self.packets[-1])

    def give_up(self, call: Call) -> None:
        """The caller's time is up; what is under way stays under way."""
        self.waiting.remove(call)
        call.done = True
        if call.caller.alive:
            call.fail(Unreachable(f"{call.to} does not answer"))

    def lose(self, packet: Packet) -> None:
        self.packets.remove(packet)

    def repeat(self, packet: Packet) -> None:
        self.packets.append(packet)

    def unearth(self, packet: Packet) -> None:
        """A copy of a request that got stuck somewhere, perhaps in the days of other programs."""
        self.packets.append(packet)

    def deliver(self, packet: Packet) -> None:
        """Raises Crash if the receiver dies of it."""
        self.packets.remove(packet)
        if self._is_cut(packet.call):
            return
        if packet.status is None:
            self._request(packet)
        else:
            self._answer(packet)

    def forget(self, program: Program) -> None:
        """Nobody waits any more for what this program has asked."""
        self.waiting = [call for call in self.waiting if call.caller is not program]

    def _is_cut(self, call: Call) -> bool:
        return bool({call.to, call.caller.name} & self.cut)

    def _request(self, packet: Packet) -> None:
        receiver = self._find(packet.call.to)
        if receiver is None:
            return
        try:
            status, body = OK, receiver.handle(packet.call.route, json.loads(packet.text))
        except HakuRiverError as error:
            status, body = error.http_status, error.to_json()
        self.packets.append(Packet(packet.call, json.dumps(body), status))

    def _answer(self, packet: Packet) -> None:
        call = packet.call
        if not call.caller.alive:
            return
        first = not call.done
        if first:
            call.done = True
            self.waiting.remove(call)
        if packet.status == OK:
            call.take(json.loads(packet.text))
            if first:
                call.then()
        elif first and packet.status == REFUSED:
            call.fail(Unreachable(f"{call.to} refused the connection", refused=True))
        elif first:
            assert packet.status is not None
            call.fail(error_from_json(packet.status, json.loads(packet.text)))
