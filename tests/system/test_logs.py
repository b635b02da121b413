from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hakuriver.model.errors import UsageError
from hakuriver.system.logs import setup
from hakuriver.system.plain import plain

LOG = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字\u3000😀", "plain é 漢字\u3000😀"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x1b[2J\x7f\x9b", "\\x1b[2J\\x7f\\x9b"),
        ("\udc80\ud800", "\\x80\\ud800"),
        ("\u202e\u2028\U000e0001", "\\u202e\\u2028\\U000e0001"),
    ],
)
def test_what_could_steer_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_lines_have_local_time_level_and_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    file = tmp_path / "new" / "host.log"
    setup("host", file=file)
    LOG.info("hello\n\x1b[2J")
    LOG.debug("not this")
    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO hello\\x0a\\x1b\[2J\n", line)
    assert file.read_text(encoding="utf-8") == line


def test_the_journal_stamps_lines_itself_and_the_file_still_has_the_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    setup("host", file=tmp_path / "log")
    LOG.warning("hello")
    assert capsys.readouterr().err == "WARNING hello\n"
    assert (tmp_path / "log").read_text(encoding="utf-8").startswith("20")


def test_setting_up_again_replaces_the_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    setup("host", file=None)
    setup("host", file=None, level=logging.WARNING)
    LOG.info("no")
    LOG.warning("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_traceback_keeps_its_lines_but_not_their_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup("host", file=None)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        LOG.exception("failed")
    err = capsys.readouterr().err
    assert "\nTraceback (most recent call last):\n" in err
    assert err.endswith("ValueError: \\x1b[2J\n")


def test_a_log_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="log file of host"):
        setup("host", file=tmp_path / "file" / "log")
