"""The documentation names everything that there is, and says of it what the code says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from hakuriver.__main__ import BELOW, COMMANDS, EXIT_CODES, main
from hakuriver.client.arguments import globals_end
from hakuriver.client.main import VERBS
from hakuriver.host.routes import ROUTES as HOST_ROUTES
from hakuriver.model.task import (
    Cancelled,
    Dispatched,
    Ended,
    Event,
    Forgotten,
    IllegalTransition,
    Observed,
    RefusedByNode,
    Requeued,
    Result,
    State,
    Status,
    Undelivered,
    Unreachable,
    Vanished,
    advance,
)
from hakuriver.runner.routes import ROUTES as RUNNER_ROUTES
from hakuriver.system.config import SETTINGS, Setting
from tests.docs.pages import (
    CHINESE,
    PAGES,
    README,
    ROOT,
    blocks,
    differences,
    everything,
    read,
    table_rows,
)

ARCHITECTURE, CONFIGURATION, HTTP_API = (
    ROOT / "docs" / f"{name}.md" for name in ("architecture", "configuration", "http-api")
)
EVENTS: tuple[tuple[str, Event], ...] = (
    *((f"observed {state.value}", Observed(state)) for state in State),
    ("ended with exit code 0", Ended(Result(0))),
    ("ended with another code, or none", Ended(Result(1))),
    ("ended out of memory", Ended(Result(137, oom=True))),
    ("ended after a kill was sent", Ended(Result(143, kill_sent=True))),
    ("refused, for now", RefusedByNode("", for_good=False)),
    ("refused for good", RefusedByNode("", for_good=True)),
    ("unreachable", Unreachable()),
    ("vanished", Vanished()),
    ("*dispatched*", Dispatched()),
    ("*undelivered*", Undelivered()),
    ("*cancelled*", Cancelled()),
    ("*requeued*", Requeued()),
    ("*forgotten*", Forgotten()),
)
COLUMNS: tuple[Status, ...] = (
    Status.PENDING, Status.ASSIGNING, Status.RUNNING, Status.PAUSED, Status.LOST, Status.FAILED,
)  # fmt: skip
OTHERS = (Status.COMPLETED, Status.KILLED, Status.KILLED_OOM)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
THREAD = re.compile(r'(?:Thread\([^)]*?name=|Ticker\(\s*|Pool\(\s*)f?"([a-z-]+)')


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described_as_it_describes_itself(name: str) -> None:
    assert name == "client" or f"| `{name}` | {COMMANDS[name].help} |" in read(README)


@pytest.mark.parametrize("name", VERBS)
def test_every_sub_command_of_the_client_is_described(name: str) -> None:
    assert f"`client {name}`" in read(README)


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS),
        *(name.split() for name in BELOW),
        *(["client", verb] for verb in VERBS),
    ],
    ids=" ".join,
)
def test_every_flag_is_somewhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    flags = set(FLAG.findall(capsys.readouterr().out))
    assert flags
    assert sorted(flags - set(FLAG.findall(everything()))) == []


def setting_row(setting: Setting) -> str:
    default = setting.default
    shown = ", ".join(default) if isinstance(default, tuple) else str(default)
    if isinstance(default, bool):
        shown = shown.lower()
    cells = (f"`{setting.key}`", f"`{shown}`" if shown else "", setting.help)
    return f"| {' | '.join(cells)} |"


def test_every_setting_has_its_row_in_its_section() -> None:
    missing = []
    for name in dict.fromkeys(setting.section for setting in SETTINGS):
        section = read(CONFIGURATION).partition(f"\n## [{name}]\n")[2].partition("\n## ")[0]
        rows = [setting_row(setting) for setting in SETTINGS if setting.section == name]
        missing += differences(rows, section)
    assert missing == [], "docs/configuration.md lacks:\n" + "\n".join(missing)


def test_no_setting_is_described_that_is_none() -> None:
    rows = {setting_row(setting) for setting in SETTINGS}
    sections = read(CONFIGURATION).partition("\n## [")[2]
    shown = [line for line in sections.splitlines() if line.startswith("| `")]
    assert [line for line in shown if line not in rows] == []


@pytest.mark.parametrize("route", HOST_ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_of_the_host_has_its_place(route) -> None:
    entry = f"`{route.method} {route.pattern}`"
    internal = route.pattern.startswith("/v1/")
    wanted = f"* {entry} (host)" if internal else f"### {entry}"
    assert any(line.startswith(wanted) for line in read(HTTP_API).splitlines()), wanted


@pytest.mark.parametrize("route", RUNNER_ROUTES, ids=lambda r: f"{r.method} {r.pattern}")
def test_every_route_of_a_runner_is_named(route) -> None:
    assert f"`{route.method} {route.pattern}`" in read(HTTP_API)


def test_the_exit_codes_are_those_of_the_program() -> None:
    assert table_rows(README, "## Exit codes") == list(EXIT_CODES)
    codes = [row[0] for row in table_rows(CHINESE, "## 結束碼")]
    assert codes[:-1] == [code for code, _ in EXIT_CODES[:-1]]


def test_no_sub_command_is_misspelt() -> None:
    """Any other word in its place would be submitted as a command, which succeeds."""
    lines = [line for page in PAGES for b in blocks(page) for line in b.text.splitlines()]
    typed = [found[1] for line in lines if (found := re.search(r"\.(?:pyz|py) client (.*)", line))]
    assert len(typed) > 20
    for words in map(shlex.split, typed):
        first = words[globals_end(words)].strip(")")
        assert first.startswith("-") or first in VERBS, words


def test_both_readmes_tell_to_type_the_same() -> None:
    def typed(page: Path) -> list[tuple[str, str]]:
        return [(block.language, block.text) for block in blocks(page)]

    assert typed(CHINESE) == typed(README)


def test_both_readmes_have_the_same_parts() -> None:
    def shape(page: Path) -> list[str]:
        return re.findall(r"(?m)^(#+) ", read(page))

    assert shape(CHINESE) == shape(README)


def status_table() -> list[str]:
    """What every fact and *act* makes of every status, as advance() has it."""
    rows = []
    for name, event in EVENTS:
        cells = [after(status, event) for status in COLUMNS]
        (others,) = {after(status, event) for status in OTHERS}
        rows.append(f"| {name} | {' | '.join([*cells, others])} |")
    return rows


def after(status: Status, event: Event) -> str:
    try:
        new = advance(status, event)
    except IllegalTransition:
        return "–"
    return "·" if new is status else new.value


def test_the_status_table_is_what_advance_does() -> None:
    missing = differences(status_table(), read(ARCHITECTURE))
    assert missing == [], "docs/architecture.md lacks:\n" + "\n".join(missing)


def test_every_kind_of_event_is_in_the_table() -> None:
    assert {type(event) for _, event in EVENTS} == set(get_args(Event))


def test_every_thread_is_named() -> None:
    text = read(ARCHITECTURE)
    for program in ("host", "runner"):
        threads = {
            name
            for path in (ROOT / "hakuriver" / program).rglob("*.py")
            for name in THREAD.findall(read(path))
        }
        assert len(threads) > 3
        assert sorted(name for name in threads if f"`{name}" not in text) == []


@pytest.mark.parametrize("page", [*PAGES, CHINESE, ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_hints_name_pages_that_exist() -> None:
    argv = ["grep", "-rhoE", r"docs/[a-z-]+\.md", str(ROOT / "hakuriver"), "--include=*.py"]
    named = subprocess.run(argv, capture_output=True, text=True).stdout.split()
    assert [name for name in named if not (ROOT / name).exists()] == []
