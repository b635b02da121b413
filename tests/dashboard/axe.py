"""What axe-core finds wrong with a page for those who cannot see or point well."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

import build_zipapp
from tests.support.browser import Browser

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}).then(
  (told) => done(told.violations.map((each) => [each.id, each.help, each.nodes.map((node) => [node.target.join(" "), node.any.map((one) => one.message).join(" ")])])),
  (error) => done([["axe", String(error), []]]));
"""


@functools.cache
def source() -> str:
    (package,) = build_zipapp.fetch_from_npm(ROOT, "tests/npm.lock")
    with tarfile.open(package.file) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def violations(page: Browser) -> list[object]:
    """Rule, its words, and the places; [] if there is nothing."""
    page.driver.execute_script(source())
    return list(page.driver.execute_async_script(RUN))
