"""A real browser: Debian's Chromium, headless, driven through its own chromedriver."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support.wait import wait_until

# Without these, Chromium asks its maker's servers for things at every start.
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars", "--lang=en",
)  # fmt: skip
TIMEOUT = 20.0
PHONE = (390, 844)
DESK = (1360, 900)


class Browser:
    """`with Browser(url) as page:`; url is the host's. Texts are what people see, compared whole or in part."""

    def __init__(self, url: str, *, size: tuple[int, int] = DESK, dark: bool = False) -> None:
        self.url = url
        self._profile = tempfile.mkdtemp(prefix="hakuriver-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in (*ARGUMENTS, f"--user-data-dir={self._profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": self._profile})
        self.driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(TIMEOUT)
        self.downloads = Path(self._profile)
        self._console: list[str] = []
        self._requests: list[str] = []
        self.resize(size)
        self.theme(dark=dark)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(f"The page was {self.driver.current_url}:\n{self.text()}")
            print("\n".join(self.console()))
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    # What it looks like

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def theme(self, *, dark: bool) -> None:
        """As the system has it."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    # Going and seeing

    def open(self, path: str = "") -> None:
        """A place of the page, such as tasks/5."""
        before = self.driver.current_url.partition("#")[0]
        self.driver.get(f"{self.url}/#/{path}")
        if before == f"{self.url}/":
            self.script("dispatchEvent(new HashChangeEvent('hashchange'))")

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def text(self) -> str:
        """All that is to be read, with single spaces between."""
        return " ".join(str(self.script("return document.body.innerText")).split())

    def see(self, *texts: str, timeout: float = TIMEOUT) -> None:
        """Wait until all of them are there."""
        wait_until(
            lambda: all(text in self.text() for text in texts),
            message=f"{texts} on the page",
            timeout=timeout,
        )

    def unsee(self, text: str, timeout: float = TIMEOUT) -> None:
        wait_until(
            lambda: text not in self.text(), message=f"no {text!r} on the page", timeout=timeout
        )

    def all(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str, timeout: float = TIMEOUT) -> WebElement:
        """Wait until one is there."""
        found: list[WebElement] = []

        def look() -> bool:
            found[:] = self.all(selector)
            return bool(found)

        wait_until(look, message=f"{selector} on the page", timeout=timeout)
        return found[0]

    # Doing

    def click(self, text: str, within: str = "body", timeout: float = TIMEOUT) -> None:
        """The button, link or box that says so, alone or with its label; the uppermost dialog's first."""
        self._try(lambda: self._clickable(text, within).click(), f"click {text!r}", timeout)

    def _clickable(self, text: str, within: str) -> WebElement:
        found = self.script(_FIND_BUTTON, text, within)
        if found is None:
            raise LookupError(f"no button {text!r}")
        return found  # type: ignore[no-any-return]

    def fill(self, label: str, value: str, timeout: float = TIMEOUT) -> None:
        """Type into the field with that label, in place of what is there."""

        def work() -> None:
            field = self._field(label)
            # As a person does it: clear() alone tells the page nothing.
            field.send_keys(Keys.CONTROL + "a", Keys.DELETE)
            field.send_keys(value)

        self._try(work, f"fill {label!r}", timeout)

    def choose(self, label: str, option: str, timeout: float = TIMEOUT) -> None:
        """An option of the list with that label."""

        def work() -> None:
            done = self.script(_CHOOSE, self._field(label), option)
            if not done:
                raise LookupError(f"no option {option!r}")

        self._try(work, f"choose {option!r} of {label!r}", timeout)

    def _field(self, label: str) -> WebElement:
        found = self.script(_FIND_FIELD, label)
        if found is None:
            raise LookupError(f"no field {label!r}")
        return found  # type: ignore[no-any-return]

    def _try(self, work: Callable[[], object], what: str, timeout: float) -> None:
        """Pages draw themselves anew: what was there a moment ago may be another element now."""

        def once() -> bool:
            try:
                work()
            except (LookupError, StaleElementReferenceException):
                return False
            except WebDriverException as error:
                if "not interactable" in str(error) or "intercepted" in str(error):
                    return False
                raise
            return True

        wait_until(once, message=what, timeout=timeout)

    def keys(self, *keys: str) -> None:
        """To whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    # What it had to complain about

    def console(self) -> list[str]:
        """Warnings and errors since the start."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self._console.append(f"{entry['level']} {entry['message']}")
        return self._console

    def check(self) -> None:
        """Nothing in the console, and nothing was asked of anybody but the host."""
        # Containers that come and go change this machine's network, which Chromium notices.
        self.forgive("ERR_NETWORK_CHANGED")
        assert not self.console(), "\n".join(self.console())
        ours = (self.url, self.url.replace("http", "ws"), "data:", "chrome:", "about:", "blob:")
        others = [each for each in self.requests() if not each.startswith(ours)]
        assert not others, others

    def forgive(self, *texts: str) -> None:
        """Complaints that the test has brought about, such as a host that was stopped."""
        self._console[:] = [
            line for line in self.console() if not any(text in line for text in texts)
        ]

    def requests(self) -> list[str]:
        """The addresses of all requests since the start."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])
        return self._requests


_FIND_BUTTON = """
const [text, within] = arguments;
const root = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.querySelector(within);
if (!root) return null;
const shown = (each) => each.checkVisibility() && !each.disabled;
const named = (each) => [each.innerText.trim(), each.getAttribute("aria-label") ?? ""];
const all = [...root.querySelectorAll("button, a, summary, label")].filter(shown);
return all.find((each) => named(each).includes(text)) ?? all.find((each) => named(each).some((name) => name.startsWith(text))) ?? null;
"""
_FIND_FIELD = """
const [name] = arguments;
const root = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
const fields = [...root.querySelectorAll("input, select, textarea")].filter((each) => each.checkVisibility());
const names = (each) => [...(each.labels ?? [])].map((label) => label.innerText.trim().split("\\n")[0]).concat(each.getAttribute("aria-label") ?? []);
return fields.find((each) => names(each).includes(name)) ?? null;
"""
_CHOOSE = """
const [field, text] = arguments;
const option = [...field.options].find((each) => each.text === text);
if (!option) return false;
field.value = option.value;
field.dispatchEvent(new Event("change", { bubbles: true }));
return true;
"""
