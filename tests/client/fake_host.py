"""A host that answers as scripted, over real HTTP, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """body: bytes as they are, anything else as JSON. status 0: the connection breaks instead.

    hold: answer only when the host is closed, as a long poll without news does.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False


BREAK = Answer(status=0)
HOLD = Answer(hold=True)


def error(status: int, kind: str, detail: str, hint: str = "") -> Answer:
    return Answer({"detail": detail, "error": kind, "hint": hint}, status)


def output(data: bytes, *, offset: int = 0, size: int | None = None, **facts: Any) -> Answer:
    """A piece of a task's output; facts: status, final."""
    end = offset + len(data)
    headers = {
        "X-Hakuriver-Offset": str(offset),
        "X-Hakuriver-Size": str(end if size is None else size),
        "X-Hakuriver-Status": facts.get("status", "completed"),
        "X-Hakuriver-Final": "1" if facts.get("final", True) else "0",
    }
    return Answer(data, headers=headers)


def task(task_id: str = "12", status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A task object as the API has it."""
    ended = status in ("completed", "failed", "killed", "killed_oom")
    begun = ended or status in ("running", "paused", "lost")
    usual = {
        "task_id": task_id,
        "batch_id": task_id,
        "command": "echo",
        "arguments": ["hi"],
        "env_vars": {},
        "required_cores": 1,
        "required_memory_bytes": None,
        "status": status,
        "assigned_node": None if status == "pending" else "node1",
        "target_node": None,
        "target_numa_node_id": None,
        "container_name": "hakuriver-base",
        "image": None,
        "privileged": False,
        "additional_mounts": [],
        "stdout_path": f"task_outputs/{task_id}.out",
        "stderr_path": f"task_errors/{task_id}.err",
        "exit_code": {"completed": 0, "failed": 3}.get(status),
        "error_message": "exit code 3" if status == "failed" else "",
        "submitted_at": "2026-01-02T03:04:05+00:00",
        "assigned_at": "2026-01-02T03:04:06+00:00" if begun else None,
        "started_at": "2026-01-02T03:04:06+00:00" if begun else None,
        "completed_at": "2026-01-02T03:04:07.200000+00:00" if ended else None,
        "attempt": 1,
        "driver": "docker" if begun else None,
        "unit_name": f"hakuriver-task-{task_id}" if begun else None,
        "wish": None,
        "peak_memory_bytes": None,
        "cpu_seconds": None,
        "user": "ann",
        "revision": 5,
    }
    return {**usual, **fields}


def page(*tasks: dict[str, Any], revision: int = 5, next: str = "") -> Answer:
    headers = {"X-Hakuriver-Revision": str(revision)}
    return Answer(list(tasks), headers={**headers, "X-Hakuriver-Next": next} if next else headers)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request; line is "GET /status/12", query its parameters."""

    line: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class FakeHost:
    """Answers each line with what on() queued for it, the last answer again and again.

    What was not scripted is a 404 as the host would send it. Use as a context manager.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._script: dict[str, deque[Answer]] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> FakeHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def on(self, line: str, *answers: Any) -> None:
        """answers: an Answer, or the JSON value of a 200."""
        self._script[line] = deque(a if isinstance(a, Answer) else Answer(a) for a in answers)

    def lines(self) -> list[str]:
        return [seen.line for seen in self.seen]

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def answer(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            queue = self._script.get(seen.line)
            if queue is None:
                return error(404, "not_found", f"nothing is scripted for {seen.line}")
            found = queue.popleft() if len(queue) > 1 else queue[0]
        if found.hold:
            self._closing.wait(30)
            return BREAK
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length", "0"))
                body = json.loads(self.rfile.read(length)) if length else None
                seen = Seen(
                    f"{self.command} {parts.path}",
                    dict(parse_qsl(parts.query, errors="surrogateescape")),
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                )
                self.reply(host.answer(seen))

            do_POST = do_GET

            def reply(self, answer: Answer) -> None:
                if not answer.status:
                    self.close_connection = True
                    return
                raw = isinstance(answer.body, bytes)
                data = answer.body if raw else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
