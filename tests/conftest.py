"""Fixtures for all tests, strictness about skips, and the closing section "What was real"."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

import build_zipapp
from tests.support import needs
from tests.support.cluster import Cluster
from tests.support.images import Images, made_images

ROOT = Path(__file__).resolve().parent.parent
STRICT = bool(os.environ.get("HAKURIVER_TESTS_STRICT"))


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact, built once from this checkout."""
    output = tmp_path_factory.mktemp("dist") / "hakuriver.pyz"
    try:
        build_zipapp.build(ROOT, output)
    except build_zipapp.CannotBuild:
        # Without npm everything but the web page can be tried all the same.
        if STRICT:
            raise
        build_zipapp.build(ROOT, output, dashboard=False)
    return output


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> list[str]:
    """The argv that HakuRiver is called with, on a Python that holds no packages of ours."""
    if os.environ.get("HAKURIVER_TESTS_CHECKOUT"):
        return [needs.base_python(), str(ROOT / "hakuriver.py")]
    return [needs.base_python(), str(request.getfixturevalue("pyz"))]


@pytest.fixture
def cluster(program: list[str]) -> Iterator[Cluster]:
    """An empty cluster: start_host() and start_runner() are the test's."""
    with Cluster(program) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def docker_images() -> Iterator[Images]:
    needs.needs(needs.docker(), needs.static_busybox())
    with made_images() as images:
        yield images


@pytest.fixture(scope="session")
def docker_image(docker_images: Images) -> str:
    """An environment, as in `--container NAME`, whose image has busybox for everything."""
    return docker_images.base


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker"):
        needs.needs_docker()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when == "call":
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Cluster):
                report.sections.append((f"logs of {name}", value.logs()))
    if report.skipped and not hasattr(report, "wasxfail"):
        fail_if_strict(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        fail_if_strict(report)
    return report


def fail_if_strict(report: pytest.TestReport | pytest.CollectReport) -> None:
    if STRICT:
        report.outcome = "failed"
        report.longrepr = f"skipped, which HAKURIVER_TESTS_STRICT forbids: {reason_of(report)}"


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The text of a skip; pytest keeps it as (file, line, "Skipped: text")."""
    where = report.longrepr
    return where[2].removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("What was real")
    ran = terminalreporter.stats
    for capability in needs.all_capabilities():
        verdict = "real" if capability.real else "NOT real"
        terminalreporter.write_line(f"{capability.name:15} {verdict:9} {capability.detail}")
    with_engine = sum("docker" in report.keywords for report in ran.get("passed", []))
    terminalreporter.write_line(f"tests that passed with a Docker engine: {with_engine}")
    skipped = Counter(reason_of(report) for report in ran.get("skipped", []))
    terminalreporter.write_line(f"skipped: {'nothing' if not skipped else ''}")
    for reason, count in sorted(skipped.items()):
        terminalreporter.write_line(f"  {count:4} × {reason}")
