"""Terminals of pages, whose connections break."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.test_shell import processes, running, terminal
from tests.support.cluster import Cluster
from tests.support.images import Images
from tests.support.processes import files_of_all
from tests.support.wait import wait_until
from tests.support.websocket import Page

pytestmark = pytest.mark.docker

IDLE = 2  # lines of `docker top` of a container that nobody is in: see processes()


@pytest.fixture
def environment(cluster: Cluster, docker_images: Images) -> Iterator[str]:
    cluster.start_host()
    name = f"e{uuid.uuid4().hex[:10]}"
    cluster.run("docker", "create-container", docker_images.image(docker_images.base), name)
    yield name
    subprocess.run(["docker", "rm", "--force", name], capture_output=True, timeout=60)


Visit = Callable[..., Page]


@pytest.fixture
def visit(cluster: Cluster) -> Iterator[Visit]:
    """visit(path, *command, resume=page) opens a terminal, or the page's again."""
    opened: list[Page] = []

    def make(path: str, *command: str, resume: Page | None = None, **more: object) -> Page:
        fields: dict[str, object] = {f"arg{place}": word for place, word in enumerate(command)}
        if resume is None:
            fields["keep"] = 1
        else:
            fields |= {"resume": resume.session, "at": resume.at}
        page = Page(cluster, f"{path}?{urlencode(fields | more)}")
        opened.append(page)
        if resume is not None:
            page.text = resume.text
        # As a page does at once, whatever it is answered.
        page.say(type="resize", rows=30, cols=90)
        return page

    yield make
    for each in opened:
        each.socket.close()


def cut(page: Page) -> None:
    """The connection breaks off, in both directions."""
    page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    page.socket.close()


def is_gone(page: Page) -> bool:
    page.read()
    return (page.close_code, [m["type"] for m in page.messages]) == (1008, ["gone"])


def ready(page: Page, mark: str = "here") -> None:
    page.say(type="input", data=f"echo {mark}-$((40+2))\n")
    page.read(lambda text: f"{mark}-42" in text)


def test_the_first_message_names_the_session(environment: str, visit: Visit) -> None:
    page = visit(terminal(environment))
    ready(page)
    assert page.messages[0] == {"type": "session", "session": page.session, "at": 0}
    assert len(page.session) >= 40
    assert page.at == len(page.text.encode())


@pytest.mark.parametrize("dies", [True, False], ids=["cut", "silent"])
def test_no_output_is_lost_or_doubled_however_often_the_connection_breaks(
    environment: str, visit: Visit, dies: bool
) -> None:
    path, count = terminal(environment), 200_000
    page = visit(path, "sh", "-c", f"seq 1 {count} | sed 's/^/\u00e9\u6cb3/'; exit 7")
    for _ in range(6):
        enough = len(page.text) + 150_000
        page.read(lambda text, enough=enough: len(text) > enough)
        if dies:
            cut(page)
        page = visit(path, resume=page)
    page.read()
    assert page.text == "".join(f"\u00e9\u6cb3{number}\r\n" for number in range(1, count + 1))
    assert (page.close_code, page.reason) == (1000, "exit code 7")
    assert page.at == len(page.text.encode())


def test_a_command_waits_while_nobody_takes_what_it_writes(environment: str, visit: Visit) -> None:
    path, size, mark = terminal(environment), 8_000_000, uuid.uuid4().hex
    page = visit(path, "sh", "-c", f"echo on; head -c {size} /dev/zero | tr '\\0' x # {mark}")
    page.read(lambda text: "on\r\n" in text)
    cut(page)
    looks = []

    def waits() -> bool:
        """It has written something, and for some looks nothing more."""
        looks.append(written(mark))
        return len(set(looks[-5:])) == 1 and looks[-1] > 1 << 20

    wait_until(waits, timeout=30, message="the command waits")
    page = visit(path, resume=page)
    page.read()
    assert page.text == "on\r\n" + size * "x"
    assert page.close_code == 1000
    assert looks[-1] < 2 * size  # each byte is written by head and by tr


def written(mark: str) -> int:
    """Bytes written by the processes with that in their command line."""
    count = 0
    for pid, line in files_of_all("cmdline"):
        if mark.encode() in line:
            (found,) = re.findall(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
            count += int(found)
    return count


def test_whoever_comes_too_late_for_the_oldest_output_is_told_so(
    environment: str, visit: Visit
) -> None:
    path = terminal(environment)
    page = visit(path, "sh", "-c", "head -c 2000000 /dev/zero; echo end; exec sleep 600")
    page.read(lambda text: text.endswith("end\r\n"))
    whole, total = page.text, page.at
    page.text = ""
    again = visit(path, resume=page, at=0)
    again.read(lambda text: text.endswith("end\r\n"))
    told = [message["type"] for message in again.messages]
    assert told[:2] == ["session", "notice"]
    assert str(total - len(again.text)) in again.messages[1]["data"]
    assert whole.endswith(again.text)
    assert len(again.text) > 500_000
    again.say(type="close")
    again.read()


def test_another_page_takes_over(environment: str, visit: Visit) -> None:
    path = terminal(environment)
    first = visit(path)
    ready(first)
    second = visit(path, resume=first)
    ready(second, "second")
    first.read()
    assert (first.close_code, first.reason) == (1008, "this shell was opened in another page")
    ready(second, "still")
    assert processes(environment) == IDLE + 1


def test_a_resumed_terminal_gets_the_pages_size(environment: str, visit: Visit) -> None:
    path = terminal(environment)
    page = visit(path)
    ready(page)
    cut(page)
    page = visit(path, resume=page)
    page.say(type="resize", rows=33, cols=77)
    page.say(type="input", data="while ! stty size | grep '^33 77'; do :; done\n")
    page.read(lambda text: "\n33 77\r" in text)


def test_an_end_that_nobody_saw_is_told_to_who_comes_back(environment: str, visit: Visit) -> None:
    path = terminal(environment)
    page = visit(path)
    ready(page)
    page.say(type="input", data="echo last-$((1+1)); exit 9\n")
    cut(page)
    wait_until(lambda: processes(environment) == IDLE, message="the shell has ended")
    page = visit(path, resume=page)
    assert "last-2" in page.read()
    assert (page.close_code, page.reason) == (1000, "exit code 9")
    wait_until(lambda: is_gone(visit(path, resume=page)), message="and then it is gone")


def test_close_ends_it_though_much_is_typed_before_it(environment: str, visit: Visit) -> None:
    path = terminal(environment)
    mark = f"7{uuid.uuid4().int % 10**6:06d}"
    for paste in (0, 1, 6):
        page = visit(path, "sh", "-c", f"echo on; exec sleep {mark}")
        page.read(lambda text: "on" in text)
        for _ in range(paste):
            page.say(type="input", data="x" * 500_000)
        page.say(type="close")
        if paste < 6:
            page.read()
            assert page.close_code == 1000
        else:
            # More than is kept for it: the end is heard once the page has left.
            page.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: not running(mark), message="it is ended")
        wait_until(lambda: is_gone(visit(path, resume=page)), message="and its session")  # noqa: B023


def test_a_session_is_found_only_where_it_is_and_by_its_name(
    cluster: Cluster, environment: str, visit: Visit
) -> None:
    page = visit(terminal(environment))
    ready(page)
    assert is_gone(visit(terminal("another"), resume=page))
    assert is_gone(visit("/task/1/terminal", resume=page))
    name, page.session = page.session, page.session[:-1]
    assert is_gone(visit(terminal(environment), resume=page))
    page.session = ""
    assert is_gone(visit(terminal(environment), resume=page))
    page.session = name
    ready(page, "unmoved")


def test_a_large_paste_arrives_whole(environment: str, visit: Visit) -> None:
    page = visit(terminal(environment))
    page.say(type="input", data="stty -echo; echo quiet-$((1+1))\n")
    page.read(lambda text: "quiet-2" in text)
    page.say(type="input", data="head -c 1000000 | wc -c; stty echo\n")
    page.say(type="input", data=("x" * 999 + "\n") * 1000)
    page.read(lambda text: "1000000" in text)


def test_who_does_not_come_back_in_time_finds_nothing(
    cluster: Cluster, docker_images: Images, request: pytest.FixtureRequest, visit: Visit
) -> None:
    cluster.settings["timing_terminal_keep"] = 0.3
    environment = request.getfixturevalue("environment")
    mark = f"7{uuid.uuid4().int % 10**6:06d}"
    page = visit(terminal(environment), "sh", "-c", f"echo on; trap '' HUP; sleep {mark}; true")
    page.read(lambda text: "on" in text)
    wait_until(lambda: running(mark), message="it runs")
    cut(page)
    wait_until(lambda: not running(mark), message="it is ended")
    wait_until(lambda: processes(environment) == IDLE, message="and the shell with it")
    assert is_gone(visit(terminal(environment), resume=page))


def test_a_host_that_stops_leaves_no_shell_behind(
    cluster: Cluster, environment: str, visit: Visit
) -> None:
    there, away = visit(terminal(environment)), visit(terminal(environment))
    for page in (there, away):
        ready(page)
    cut(away)
    assert processes(environment) == IDLE + 2
    cluster.host.stop()
    there.read()
    assert there.close_code == 1001
    assert processes(environment) == IDLE
    cluster.start_host()
    assert is_gone(visit(terminal(environment), resume=away))


def test_a_shell_beside_a_task_is_kept_too(cluster: Cluster, visit: Visit) -> None:
    cluster.start_host()
    cluster.start_runner()
    task_id = cluster.submit("sleep", "600", container_name="NULL")
    cluster.wait_status(task_id, "running")
    path = f"/task/{task_id}/terminal"
    page = visit(path)
    ready(page)
    page.say(type="input", data="seq 1 100000; exit 3\n")
    page.read(lambda text: "\n5000\r" in text)
    cut(page)
    page = visit(path, resume=page)
    text = page.read()
    assert "\r\n".join(map(str, range(1, 100_001))) in text
    assert page.close_code == 1000


def test_what_cannot_be_opened_is_told_as_to_everybody(environment: str, visit: Visit) -> None:
    page = visit(terminal("nothing"))
    page.read()
    (message,) = page.messages
    assert message["type"] == "error"
    assert "has no container on the host" in message["data"]
    assert page.close_code == 1008


def test_who_does_not_ask_for_it_is_not_kept(environment: str, visit: Visit) -> None:
    page = visit(terminal(environment), keep=0)
    message = page.message()
    assert message is not None
    assert set(message) == {"type", "data"}
    cut(page)
    wait_until(lambda: processes(environment) == IDLE, message="no shell is left")
    page = visit(terminal(environment), keep=0)
    page.say(type="close")
    page.read()
    assert page.close_code == 1008
