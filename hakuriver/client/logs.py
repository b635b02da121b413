"""`client logs`: a task's output, byte for byte, from any offset and over any restart."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial

from hakuriver.client.arguments import Parser, Verb, add_ids, count
from hakuriver.client.host_api import Chunk, HostApi
from hakuriver.client.output import Output
from hakuriver.client.wait import Patience

HOLD = 30.0
"""Seconds that one request waits for more output."""


@dataclass(frozen=True, slots=True)
class LogsOptions:
    id: str
    stream: str
    follow: bool
    tail: int | None


def add_arguments(parser: Parser) -> None:
    add_ids(parser, many=False)
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until the task has ended")
    add("--stderr", action="store_true", help="what it wrote to stderr instead")
    add("--tail", metavar="N", type=count, help="only the last N lines of what is there")


def options(given: argparse.Namespace) -> LogsOptions:
    return LogsOptions(given.id, "stderr" if given.stderr else "stdout", given.follow, given.tail)


def run(options: LogsOptions, api: HostApi, out: Output) -> int:
    reader = Reader(options, api, out)
    if options.follow:
        reader.follow()
    else:
        reader.read_what_is_there()
    return 0


class Reader:
    """Copies one stream to stdout. The offset is all it has to remember."""

    def __init__(self, options: LogsOptions, api: HostApi, out: Output) -> None:
        self._options = options
        self._api = api
        self._out = out
        self._ask = Patience(out).ask
        self._told = ""

    def read_what_is_there(self) -> None:
        chunk = self._begin()
        if not chunk.size:
            what = "has written nothing" if chunk.final else f"is {chunk.status}: no output yet"
            self._tell(f"Task {self._options.id} {what}.")
        size = chunk.size
        # What is written meanwhile is not waited for: a task may write faster than we read.
        while chunk.data and chunk.end < size:
            chunk = self._read(chunk.end)

    def follow(self) -> None:
        """Until the task has ended and every byte is out, wherever a connection breaks."""
        chunk = self._begin()
        while not (chunk.final and chunk.end >= chunk.size):
            if chunk.status == "pending":
                self._tell_why_it_waits()
            if chunk.size < chunk.end:
                self._out.note(f"Task {self._options.id} was started again: a new output.")
                chunk = self._read(0, wait=HOLD)
            else:
                chunk = self._read(chunk.end, wait=HOLD)

    def _begin(self) -> Chunk:
        tail = self._options.tail
        return self._read(0 if tail is None else None, tail=tail)

    def _read(
        self, offset: int | None, *, tail: int | None = None, wait: float | None = None
    ) -> Chunk:
        ask = partial(self._api.output, self._options.id, self._options.stream)
        chunk = self._ask(partial(ask, offset=offset, tail=tail, wait=wait))
        if chunk.data:
            self._out.raw(chunk.data)
        return chunk

    def _tell_why_it_waits(self) -> None:
        if self._out.talks_to_terminal:
            task = self._ask(partial(self._api.status, self._options.id))
            why = task.get("error_message")
            if task["status"] == "pending":
                self._tell(f"Task {self._options.id} is pending{f': {why}' if why else ''}.")

    def _tell(self, text: str) -> None:
        """To a person, and not twice."""
        if self._out.talks_to_terminal and text != self._told:
            self._out.note(text)
            self._told = text


VERBS = {"logs": Verb(add_arguments, options, run)}
