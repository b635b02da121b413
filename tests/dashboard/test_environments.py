"""Environments in the page: made, opened, packed, synchronised and deleted, with a real engine."""

from __future__ import annotations

import random
import re

import pytest
from selenium.webdriver.common.keys import Keys

from tests.dashboard.axe import violations
from tests.lab.proxy import Proxy
from tests.support.browser import PHONE, Browser
from tests.support.cluster import Cluster
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker


def screen(page: Browser) -> str:
    """What the terminal shows."""
    rows = page.script(
        "return [...document.querySelectorAll('.xterm-rows > div')].map((each) => each.innerText).join('\\n')"
    )
    return str(rows).replace("\u00a0", " ")


def type_in(page: Browser, text: str) -> None:
    page.one(".xterm-helper-textarea").send_keys(text)


def see_on_screen(page: Browser, text: str, timeout: float = 20) -> None:
    wait_until(
        lambda: text in screen(page), timeout=timeout, message=lambda: f"{text!r} in {screen(page)}"
    )


def make(up: Cluster, name: str, image: str) -> None:
    status, _, answer = up.api(
        "POST", "/docker/host/create", {"image_name": image, "container_name": name}
    )
    assert status == 201, answer


def test_an_environment_is_made_prepared_packed_run_and_deleted(
    up: Cluster, page: Browser, environment: str, base_image: str
) -> None:
    page.open("environments")
    page.see("Environments")
    page.click("New environment")
    page.fill("Name", environment)
    page.fill("Image to begin with", base_image)
    page.click("Create")
    page.see(environment, "container runs", "Not packed yet")
    page.click("Shell", within=f"[data-environment='{environment}']")
    page.see("Connected")
    type_in(page, "echo prepared > /by-hand; cat /by-hand\n")
    see_on_screen(page, "prepared\n")
    page.open("environments")
    page.click("Pack", within=f"[data-environment='{environment}']")
    page.see(f"Packing {environment}.")
    page.see("newest", timeout=60)
    task_id = up.submit("cat", "/by-hand", container_name=environment)
    assert up.wait_final(task_id)["status"] == "completed"
    assert up.output(task_id) == b"prepared\n"
    page.see("node1: newest")
    page.click("Stop", within=f"[data-environment='{environment}']")
    page.see("container stopped", timeout=30)
    page.click("Start", within=f"[data-environment='{environment}']")
    page.see("container runs")
    page.click("Sync …", within=f"[data-environment='{environment}']")
    page.see(f"Bring {environment} to nodes", "has the newest")
    page.click("node1")
    page.click("Sync 1 node")
    page.unsee(f"Bring {environment} to nodes")
    page.click("Delete container", within=f"[data-environment='{environment}']")
    page.see(f"Delete the container of {environment}?", "Its versions stay")
    page.click("Delete")
    page.see("no container here")
    page.click("Delete", within=f"[data-environment='{environment}']")
    page.see("It is the only one")
    page.click("Delete")
    page.see("No version of it is kept")
    page.open("nodes/node1")
    page.see("Environments here", environment)
    assert "older" not in page.text()


def test_an_environment_on_a_node_with_a_long_name_fits_on_a_phone(
    up: Cluster, page: Browser, environment: str, base_image: str
) -> None:
    name = "a-machine-in-the-basement-of-building-seven-with-a-name-that-somebody-liked"
    up.start_runner(name)
    make(up, environment, base_image)
    assert up.api("POST", f"/docker/create_tar/{environment}", {})[0] == 200
    page.resize(PHONE)
    page.open("environments")
    page.see(f"{name}: newest")
    wait_until(lambda: page.script("return document.documentElement.scrollWidth") <= PHONE[0])


def test_what_cannot_be_made_says_why(
    up: Cluster, page: Browser, environment: str, base_image: str
) -> None:
    make(up, environment, base_image)
    page.open("environments")
    page.see(environment)
    page.click("New environment")
    page.fill("Name", environment)
    page.fill("Image to begin with", base_image)
    page.click("Create")
    page.see("has a container already")
    page.click("Cancel")
    page.click("New environment")
    page.fill("Name", f"{environment}x")
    page.fill("Image to begin with", "there/is/none:such")
    page.click("Create")
    page.see("failed", f"Making {environment}x", timeout=60)
    page.forgive("409")


def test_what_failed_is_forgotten_when_it_was_done_after_all(
    up: Cluster, page: Browser, environment: str, base_image: str
) -> None:
    page.open("environments")
    for image in ("there/is/none:such", base_image):
        page.click("New environment")
        page.fill("Name", environment)
        page.fill("Image to begin with", image)
        page.click("Create")
        page.see(f"Making {environment} failed" if image != base_image else "container runs")
    page.unsee(f"Making {environment}")


def test_the_terminal_is_one(up: Cluster, page: Browser, environment: str, base_image: str) -> None:
    make(up, environment, base_image)
    page.open(f"environments/{environment}/shell")
    page.see("Connected")
    type_in(page, "stty size\n")
    rows = len(page.all(".xterm-rows > div"))
    see_on_screen(page, f"\n{rows} ")
    page.resize((900, 700))
    wait_until(lambda: len(page.all(".xterm-rows > div")) < rows)
    type_in(page, "clear; stty size\n")
    see_on_screen(page, f"{len(page.all('.xterm-rows > div'))} ")
    type_in(page, "clear; echo be'gin'; sleep 100\n")
    see_on_screen(page, "begin")
    type_in(page, Keys.CONTROL + "c")
    type_in(page, Keys.NULL + "echo after-$((40 + 2))\n")
    see_on_screen(page, "after-42")
    page.script(
        "const data = new DataTransfer(); data.setData('text/plain', arguments[0]);"
        "document.querySelector('.xterm-helper-textarea').dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))",
        "echo 'pasted: ä 漢字'\r",
    )
    see_on_screen(page, "pasted: ä 漢字")
    type_in(page, "exit\n")
    page.see("The shell has ended")
    page.click("New shell")
    page.see("Connected")


def test_the_terminal_comes_back_after_a_hiccup_with_nothing_lost_or_doubled(
    up: Cluster, environment: str, base_image: str
) -> None:
    make(up, environment, base_image)
    cable = Proxy("127.0.0.1", ("127.0.0.1", up.port), random.Random(1))
    with Browser(f"http://127.0.0.1:{cable.port}") as page:
        page.open(f"environments/{environment}/shell")
        page.see("Connected")
        count = "n=$((n+1)); echo count $n.; sleep 0.1"
        type_in(page, f"n=0; while [ $n -lt 40 ]; do {count}; done; echo all-$n\n")
        see_on_screen(page, "count 3.")
        cable.dead.set()
        cable.tear()
        page.see("Connection lost")
        cable.dead.clear()
        page.see("Connected")
        see_on_screen(page, "all-40", timeout=30)
        # The shell asks where the cursor is, and echoes the answer before one of the lines.
        seen = [int(number) for number in re.findall(r"count ([0-9]+)\.", screen(page))]
        assert seen == list(range(seen[0], 41)), screen(page)
        page.forgive("ERR_", "WebSocket")
        page.check()
    cable.stop()


def test_a_shell_of_a_host_that_restarted_is_gone_and_says_so(
    up: Cluster, page: Browser, environment: str, base_image: str
) -> None:
    make(up, environment, base_image)
    page.open(f"environments/{environment}/shell")
    page.see("Connected")
    up.host.stop()
    page.see("Host not reached")
    up.host.start()
    page.see("New shell", "Live", timeout=40)
    page.click("New shell")
    page.see("Connected")
    page.forgive("ERR_", "WebSocket", "503")


def test_a_shell_beside_a_task_is_opened_from_its_page(up: Cluster, page: Browser) -> None:
    task_id = up.submit("sleep", "600")
    up.wait_status(task_id, "running")
    page.open(f"tasks/{task_id}")
    page.click("Shell")
    page.see(f"Beside task {task_id}", "Connected")
    type_in(page, "echo here-$HAKURIVER_TASK_ID\n")
    see_on_screen(page, f"here-{task_id}")


def test_a_shell_can_be_left_by_keyboard(up: Cluster, page: Browser) -> None:
    task_id = up.submit("sleep", "600")
    up.wait_status(task_id, "running")
    focused = "return document.activeElement.closest('.terminal') ? 'shell' : document.activeElement.innerText"
    page.open(f"tasks/{task_id}/shell")
    page.see("Connected", "Ctrl-Shift-L leaves the terminal")
    page.keys(Keys.TAB)
    assert page.script(focused) == "shell"
    page.keys(Keys.CONTROL + Keys.SHIFT + "l")
    page.keys(Keys.TAB)
    assert page.script(focused) == task_id
    type_in(page, Keys.CONTROL + "u")
    type_in(page, "exit\n")
    page.see("The shell has ended")
    page.keys(Keys.SHIFT + Keys.TAB)
    assert page.script(focused) == "New shell"
    assert violations(page) == []
