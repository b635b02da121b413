"""The output of tasks in the page: followed, searched, coloured, and large."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboard.axe import violations
from tests.support.browser import Browser
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

MIB = 1 << 20


def test_output_is_followed_as_it_grows_until_the_task_ends(
    up: Cluster, page: Browser, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"echo begin; until [ -e {gate} ]; do sleep 0.05; done; echo over; echo oops >&2"
    task_id = up.submit("sh", "-c", script)
    page.open(f"tasks/{task_id}")
    page.see("begin", "following")
    gate.touch()
    page.see("over", "completed")
    page.click("stderr")
    page.see("oops")
    page.click("stdout")
    page.see("begin over")


def test_a_task_that_writes_nothing_is_said_to(up: Cluster, page: Browser) -> None:
    task_id = up.submit("true")
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.see("The task wrote nothing to stdout.")


def test_colours_progress_bars_and_markup_are_shown_and_do_nothing(
    up: Cluster, page: Browser
) -> None:
    text = r"\033[1;31mred\033[0m plain \033[38;5;208morange\033[m\n10 %%\r50 %%\r100 %%\n<b>bold?</b>\033]0;title\007\n"
    task_id = up.submit("printf", text)
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.see("red plain orange", "100 %", "<b>bold?</b>")
    assert "50 %" not in page.text().replace(text, "").partition("Output")[2]
    styles = "return [...document.querySelectorAll('.log-line span')].map((each) => [each.innerText, each.style.color, each.style.fontWeight])"
    assert page.script(styles) == [
        ["red", "var(--ansi-1)", "700"], ["orange", "rgb(255, 135, 0)", ""],
    ]  # fmt: skip
    assert page.all(".log b") == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_on_any_of_the_sixteen_colours_can_be_read(
    up: Cluster, page: Browser, dark: bool
) -> None:
    pairs = [(97, 44), (30, 47), (37, 41), (30, 42), (97, 43), (93, 107)]
    task_id = up.submit("printf", "".join(f"\\033[{fg};{bg}mwords\\033[0m " for fg, bg in pairs))
    up.wait_final(task_id)
    page.theme(dark=dark)
    page.open(f"tasks/{task_id}")
    wait_until(lambda: len(page.all(".log-line span")) == len(pairs))
    assert violations(page) == []


def large(up: Cluster, size: int) -> tuple[str, int]:
    """A task with that many bytes of numbered lines, and the last number."""
    task_id = up.submit("true")
    up.wait_final(task_id)
    line = "line {:09d} of a log that somebody has to read, and it is rather long\n"
    count = size // len(line.format(0))
    path = Path(up.task(task_id)["stdout_path"])
    with open(path, "w") as file:
        for first in range(0, count, 50_000):
            numbers = range(first, min(first + 50_000, count))
            file.write("".join(map(line.format, numbers)))
    return task_id, count - 1


def test_100_mb_are_walked_through_and_searched_without_holding_them(
    up: Cluster, page: Browser
) -> None:
    task_id, last = large(up, 100 * MIB)
    page.open(f"tasks/{task_id}")
    page.see(f"line {last:09d}", "of which")
    assert "line 000000000" not in page.text()
    page.click("Start")
    page.see("line 000000000")
    page.fill("Search the output", f"line {last // 2:09d}")
    page.click("Next")
    wait_until(lambda: page.all(".log-line.is-hit") != [], timeout=60)
    assert f"{last // 2:09d}" in page.one(".log-line.is-hit").text
    page.fill("Search the output", "nothing like this anywhere")
    page.click("Next")
    page.see("Not found.", timeout=60)
    page.click("End")
    page.see(f"line {last:09d}")
    # Up and up: what is far away is dropped.
    for _ in range(30):
        page.script("document.querySelector('.log').scrollTop = 0")
        wait_until(lambda: page.script("return document.querySelector('.log').scrollTop") > 0)
    lines = page.script("return document.querySelectorAll('.log-line').length")
    assert 1000 < lines <= 21_000
    heap = page.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})
    assert heap["usedSize"] < 60 * MIB


def test_one_endless_line_is_cut_and_shown(up: Cluster, page: Browser) -> None:
    task_id = up.submit("true")
    up.wait_final(task_id)
    Path(up.task(task_id)["stdout_path"]).write_text("x" * 5 * MIB + "END")
    page.open(f"tasks/{task_id}")
    page.see("END", "of which 3.0 MiB are shown")


def test_long_lines_are_cut_between_characters_and_between_states_of_a_progress_bar(
    up: Cluster, page: Browser
) -> None:
    task_id = up.submit("true")
    up.wait_final(task_id)
    path = Path(up.task(task_id)["stdout_path"])
    lines = "return [...document.querySelectorAll('.log-line')].map((each) => each.textContent)"
    path.write_text("é" + "日本語" * 20_000 + "\nafter\n")
    page.open(f"tasks/{task_id}")
    page.see("after")  # at the end, though the lines before it are higher than most
    assert "".join(page.script(lines)) == "é" + "日本語" * 20_000 + "after"
    path.write_text("".join(f"\r{n:5} of 20000 done" for n in range(20_001)) + "\nafter\n")
    page.click("End")
    page.see("20000 of 20000 done")
    assert [line for line in page.script(lines) if not line.endswith(" of 20000 done")] == ["after"]


def test_search_goes_on_from_hit_to_hit_and_back(up: Cluster, page: Browser) -> None:
    task_id = up.submit("printf", "one\\ntwo\\none more\\nthree\\n")
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.see("three")
    page.fill("Search the output", "ONE")

    def hit() -> str:
        found = page.all(".log-line.is-hit")
        return found[0].text if found else ""

    page.click("Next")
    wait_until(lambda: hit() == "one")
    page.click("Next")
    wait_until(lambda: hit() == "one more")
    page.click("Previous")
    wait_until(lambda: hit() == "one")
    page.click("Next")
    page.click("Next")
    wait_until(lambda: hit() == "one", message="from the beginning again")


def test_lines_are_wrapped_or_not_and_the_file_can_be_downloaded(
    up: Cluster, page: Browser
) -> None:
    task_id = up.submit("printf", "%0500d\\n", "0")
    up.wait_final(task_id)
    page.open(f"tasks/{task_id}")
    page.see("0000")
    wide = "const box = document.querySelector('.log'); return box.scrollWidth > box.clientWidth"
    assert page.script(wide) is False
    page.click("Wrap lines")
    wait_until(lambda: page.script(wide) is True)
    page.click("Wrap lines")
    page.click("Download")
    saved = page.downloads / f"task-{task_id}.stdout.txt"
    wait_until(saved.exists)
    assert saved.read_bytes() == up.output(task_id)


def test_output_stays_and_goes_on_when_the_host_was_away(
    up: Cluster, page: Browser, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = f"echo begin; until [ -e {gate} ]; do sleep 0.05; done; echo over"
    task_id = up.submit("sh", "-c", script)
    page.open(f"tasks/{task_id}")
    page.see("begin", "following")
    page.click("Everything else that is known")
    log = "return [...document.querySelectorAll('.log-line')].map((each) => each.textContent)"
    up.host.stop()
    page.see("The host does not answer.")
    assert page.script(log) == ["begin"]
    up.host.start()
    page.see("Live", timeout=30)
    page.unsee("The host does not answer.", timeout=10)
    page.see("Less")
    assert page.script(log) == ["begin"]
    gate.touch()
    page.see("completed")
    wait_until(lambda: page.script(log) == ["begin", "over"])
    page.forgive("ERR_")
