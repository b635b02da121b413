"""A page left open: logins, restarts of the host, keyboards, phones, and what readers need."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.dashboard.axe import violations
from tests.dashboard.conftest import TOKEN
from tests.support.browser import PHONE, Browser
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

PAGES = ("", "nodes", "nodes/node1", "tasks", "tasks/1", "submit", "environments")


def test_the_token_is_asked_for_once_and_a_wrong_one_is_said_to_be_wrong(closed: Cluster) -> None:
    with Browser(f"http://127.0.0.1:{closed.port}") as page:
        page.open("nodes")
        page.see("This cluster asks for its token.")
        page.fill("Token", "wrong")
        page.click("Log in")
        page.see("That is not the token of this host.")
        page.forgive("401")
        page.fill("Token", TOKEN)
        page.fill("Your name", "ada")
        page.click("Log in")
        page.see("1 node", "node1")
        assert TOKEN not in page.script(
            "return JSON.stringify([localStorage, sessionStorage, document.cookie])"
        )
        page.open("submit")
        page.fill("Command line", "true")
        page.click("Submit")
        page.see("Task 1 is submitted.", "by ada")
        assert "ada@127.0.0.1: POST /submit" in closed.host.log_text()
        page.driver.refresh()
        page.see("Task 1")
        page.click("Log out")
        page.see("This cluster asks for its token.")
        page.check()


def test_a_host_that_restarts_is_shown_and_recovered_from(up: Cluster, page: Browser) -> None:
    page.open("tasks")
    page.see("Live", "Nothing was submitted yet.")
    up.host.stop()
    page.see("Host not reached, trying again")
    # What is opened now has to be told later what it could not be told.
    page.open()
    page.see("The host does not answer.")
    page.script(
        "window.empty = false; new MutationObserver(() => {"
        " window.empty ||= document.body.innerText.includes('No nodes yet');"
        "}).observe(document.body, {childList: true, subtree: true})"
    )
    up.host.start()
    page.see("Live", timeout=30)
    page.unsee("The host does not answer.")
    assert page.script("return window.empty") is False, "the page forgot what it knew for a moment"
    page.open("tasks")
    task_id = up.submit("sleep", "600")
    page.see("sleep 600", task_id)
    page.forgive("ERR_")


def test_a_host_that_takes_a_connection_and_says_nothing_is_not_live(
    up: Cluster, page: Browser
) -> None:
    """As after the sleep of a laptop, when what is between has forgotten the connection."""
    page.open("nodes")
    page.see("Live", "node1")
    up.host.freeze()
    page.script("document.dispatchEvent(new Event('visibilitychange'))")
    page.see("Connecting …")
    page.see("Host not reached")
    up.host.thaw()
    page.see("Live", timeout=30)
    page.forgive("ERR_")


def test_a_page_from_before_an_update_says_so_and_can_be_loaded_anew(
    up: Cluster, page: Browser
) -> None:
    page.open("nodes")
    page.see("Live", "node1")
    hello = "const live = await import('/dashboard/live.js'); live.EVENTS.hello({version: '9', build: 'another', now: 0});"
    page.script(f"return (async () => {{ {hello} }})()")
    page.see("The host was updated.", "Version 9")
    assert violations(page) == []
    page.click("Reload the page")
    page.unsee("The host was updated.")
    page.see("Live", "node1")


def test_tasks_that_are_forgotten_are_gone_from_pages_that_are_open(
    up: Cluster, page: Browser
) -> None:
    for words in ("first", "second"):
        up.wait_final(up.submit("echo", words))
    page.open("tasks")
    page.see("echo first", "2 submissions", "completed 2")
    with Browser(page.url) as other:
        other.open("tasks/1")
        other.see("Task 1", "completed")
        up.client("prune", "--older-than", "0s", "--yes")
        page.see("Nothing was submitted yet.")
        other.see("There is no task 1 any more.")
        other.unsee("completed")


def test_a_list_is_read_out_when_it_is_asked_for_not_whenever_it_changes(
    up: Cluster, page: Browser
) -> None:
    up.submit("sleep", "600")
    page.open("tasks")
    page.see("1 submission")
    page.script(
        "window.said = []; const look = () => { const text ="
        " [...document.querySelectorAll('[role=status]')].map((each) => each.textContent).join('|');"
        " if (text !== window.said.at(-1)) window.said.push(text); };"
        " look(); new MutationObserver(look).observe(document.body, {childList: true, characterData: true, subtree: true})"
    )
    up.submit("sleep", "601")
    page.see("2 submissions")
    assert len(page.script("return window.said")) == 1
    page.fill("Search", "601")
    page.see("1 submission")
    wait_until(lambda: "1 submission" in page.script("return window.said")[-1])


def test_two_pages_see_the_same(up: Cluster, page: Browser) -> None:
    page.open("tasks")
    page.see("Live")
    with Browser(page.url) as other:
        other.open("submit")
        other.fill("Command line", "sleep 601")
        other.click("Submit")
        other.see("Task 1 is submitted.")
        page.see("sleep 601", "running")
        other.check()


def test_ten_tabs_of_one_browser_are_live_when_they_are_looked_at(
    up: Cluster, page: Browser, tmp_path: Path
) -> None:
    """Browsers open six connections to one host: tabs in the background hold none."""
    gate = tmp_path / "gate"
    task_id = up.submit(
        "sh", "-c", f"echo begin; until [ -e {gate} ]; do sleep 0.05; done; echo over"
    )
    page.open(f"tasks/{task_id}")
    page.see("begin", "following")
    first = page.driver.current_window_handle
    for _ in range(9):
        page.driver.switch_to.new_window("tab")
        page.open(f"tasks/{task_id}")
        page.see("Live", "begin", "following")
    gate.touch()
    page.see("completed", "over")
    page.driver.switch_to.window(first)
    page.see("Live", "completed", "begin over")
    # What was aborted, and the network of this machine, on which containers come and go.
    page.forgive("ERR_")


def test_everything_is_reached_by_keyboard(up: Cluster, page: Browser) -> None:
    page.open("nodes")
    page.see("node1")
    page.keys(Keys.TAB)
    page.see("Skip to the content")
    page.keys(Keys.ENTER)
    for _ in range(40):
        page.keys(Keys.TAB)
        if page.driver.switch_to.active_element.text == "Drain":
            break
    page.keys(Keys.ENTER)
    page.see("Drain node1?")
    focused = "return document.activeElement.innerText"
    wait_until(lambda: page.script(focused) == "Drain")
    page.keys(Keys.ESCAPE)
    page.unsee("Drain node1?")
    wait_until(lambda: page.script(focused) == "Drain", message="the focus is back")
    assert (up.node() or {})["drained"] is None


@pytest.mark.parametrize("size", [(1280, 500), (390, 600)], ids=["desk", "phone"])
def test_what_has_the_focus_is_not_behind_the_edges_of_the_page(
    page: Browser, size: tuple[int, int]
) -> None:
    page.resize(size)
    page.open("submit")
    page.see("Live" if size[0] > 760 else "New task", "node1")
    page.one("main textarea").click()
    hidden = (
        "const one = document.activeElement.getBoundingClientRect();"
        "const behind = (edge) => { const box = document.querySelector(edge).getBoundingClientRect();"
        " return box.height > 0 && one.top >= box.top - 1 && one.bottom <= box.bottom + 1 &&"
        "  document.activeElement.closest('main'); };"
        "return ['.top', '.bottom-nav'].some(behind)"
    )
    for key in (Keys.TAB,) * 10 + (Keys.SHIFT + Keys.TAB,) * 10:
        page.keys(key)
        wait_until(lambda: not page.script(hidden), message="the focus is seen", timeout=3)


def test_the_focus_comes_back_however_a_dialog_ends(up: Cluster, page: Browser) -> None:
    focused = "return document.activeElement.innerText"
    page.open("nodes")
    page.click("Drain")
    page.click("Cancel")
    page.unsee("Drain node1?")
    assert page.script(focused) == "Drain"
    page.click("Drain")
    page.see("Drain node1?")
    page.click("Drain")
    page.see("drained")
    wait_until(lambda: page.script(focused) == "Undrain", message="the focus is back")
    page.open("environments")
    page.click("New environment")
    page.click("Cancel")
    page.unsee("Image to begin with")
    assert page.script(focused) == "New environment"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_to_complain_about(
    up: Cluster, page: Browser, path: str, dark: bool
) -> None:
    up.wait_final(up.submit("sh", "-c", "printf '\\033[32mgreen\\033[0m\\n'; exit 3", user="ada"))
    up.submit("sleep", "600")
    page.theme(dark=dark)
    page.open(path)
    page.see("Live")
    page.unsee("Loading …")
    assert violations(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_what_is_not_always_there(closed: Cluster, dark: bool) -> None:
    """The login, a dialog, a message of a failure, a terminal."""
    task_id = closed.submit("sleep", "600")
    with Browser(f"http://127.0.0.1:{closed.port}", dark=dark) as page:
        page.open("nodes")
        page.see("This cluster asks for its token.")
        page.click("Where do I find the token?")
        assert violations(page) == []
        page.fill("Token", "wrong")
        page.click("Log in")
        page.see("That is not the token of this host.")
        assert violations(page) == []
        page.fill("Token", TOKEN)
        page.click("Log in")
        page.see("node1")
        page.click("Add a node")
        page.see("runner --join")
        assert violations(page) == []
        page.keys(Keys.ESCAPE)
        page.click("Drain")
        page.see("Drain node1?")
        assert violations(page) == []
        page.keys(Keys.ESCAPE)
        page.open(f"tasks/{task_id}/shell")
        page.see("Connected")
        assert violations(page) == []
        page.forgive("401")
        page.check()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_wider_than_a_phone(up: Cluster, page: Browser, path: str) -> None:
    for code in (0, 3):
        script = f"echo a-rather-long-word-{'x' * 200}; exit {code}"
        up.wait_final(up.submit("sh", "-c", script, user="ada"))
    up.submit("sleep", "600", required_cores=400)
    page.resize(PHONE)
    page.open(path)
    page.see("Overview", "Nodes", "Tasks", "Environments")
    page.unsee("Loading …")
    wait_until(lambda: page.script("return document.documentElement.scrollWidth") <= PHONE[0])
    assert violations(page) == []


def test_a_short_page_on_a_phone_begins_at_the_top(page: Browser) -> None:
    page.resize(PHONE)
    page.open("nothing/here")
    page.see("There is no such page.")
    assert page.script("return document.querySelector('.side').offsetHeight") < 100


def test_the_search_is_wide_enough_on_any_screen(page: Browser) -> None:
    page.open("tasks")
    for width in (390, 700, 800, 1000, 1360):
        page.resize((width, 900))
        page.see("Nothing was submitted yet.")
        assert page.one("input[type=search]").size["width"] >= 200, width


def test_the_colours_are_the_systems_or_the_readers_choice(page: Browser) -> None:
    page.open()
    page.see("Live")
    background = "return getComputedStyle(document.documentElement).backgroundColor"
    light = page.script(background)
    page.choose("Colours", "dark")
    dark = page.script(background)
    assert dark != light
    page.driver.refresh()
    page.see("Live")
    assert page.script(background) == dark
    page.choose("Colours", "as the system")
    assert page.script(background) == light


def test_the_systems_own_colours_still_say_what_is_chosen_and_how_much(
    up: Cluster, page: Browser
) -> None:
    up.submit("sleep", "600")
    forced = {"name": "forced-colors", "value": "active"}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [forced]})
    page.open("tasks?status=running")
    page.see("Live", "sleep 600")
    colour = "return getComputedStyle(document.querySelector(arguments[0])).backgroundColor"
    for chosen, other in (
        (".chip[aria-pressed=true]", ".chip[aria-pressed=false]"),
        (".side-nav a[aria-current]", ".side-nav a:not([aria-current])"),
        (".dot.is-running", ".dot.is-failed"),
    ):
        assert page.script(colour, chosen) != page.script(colour, other), chosen
    page.open()
    page.see("Tasks by state", "Cores")
    assert page.script(colour, ".fill.is-running") != page.script(colour, ".meter")


def test_a_page_left_open_does_not_grow(up: Cluster, page: Browser) -> None:
    """Hours of events in seconds: what the host tells in a day, told to the page at once."""
    page.open("tasks")
    page.see("Live", "Nothing was submitted yet.")

    def heap() -> int:
        page.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return int(page.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"])

    sample = {
        "t": 0, "nodes": {}, "cluster": {"cores_total": 4, "cores_reserved": 1, "cpu_percent": 5,
        "memory_total": 1, "memory_reserved": 0, "memory_used": 1, "running": 0},
    }  # fmt: skip
    flood = (
        "const live = await import('/dashboard/live.js'); const [count, sample, task] = arguments;"
        "for (let at = 0; at < count; at += 1) {"
        " live.EVENTS.sample({...sample, t: at}); live.EVENTS.jobs({jobs: [{job_id: `1.${at}`, state: 'done'}]});"
        " live.EVENTS.tasks({revision: at, tasks: [], more: false}); }"
    )
    page.driver.execute_script(f"return (async () => {{ {flood} }})()", 2000, sample, None)
    before = heap()
    page.driver.execute_script(f"return (async () => {{ {flood} }})()", 17280, sample, None)
    assert heap() < before + (2 << 20)


def test_a_checkout_says_what_to_run(up: Cluster, tmp_path: Path) -> None:
    from tests.support import needs
    from tests.support.cluster import Cluster as Another

    root = Path(__file__).resolve().parent.parent.parent
    with Another([needs.base_python(), str(root / "hakuriver.py")]) as bare:
        bare.start_host()
        status, _, content = bare.api("GET", "/", headers={"Accept": "text/html"})
        assert status == 200
        assert b"python3 build_zipapp.py" in content
        assert bare.api("GET", "/dashboard/vendor/vue.js")[0] == 404
