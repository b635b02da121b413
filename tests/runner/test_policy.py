"""A node's own policy: nothing that is written differently becomes something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hakuriver.runner.drivers import CannotStart
from hakuriver.runner.policy import Policy, permitted
from tests.runner.desk import order


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An allowed folder with a neighbour, and links out of and into it."""
    for name in ("data/inner", "database", "outside"):
        (tmp_path / name).mkdir(parents=True)
    data = tmp_path / "data"
    (data / "out").symlink_to(tmp_path / "outside")
    (data / "inner" / "up").symlink_to("../..")
    (tmp_path / "outside" / "in").symlink_to(data / "inner")
    return data


def mounts(policy: Policy, *texts: str) -> tuple[str, ...]:
    return permitted(order(mounts=texts), policy, node="n1").mounts


@pytest.mark.parametrize(
    ("source", "real"),
    [
        ("data", "data"),
        ("data/", "data"),
        ("data/inner", "data/inner"),
        ("data//inner/.", "data/inner"),
        ("data/not-there-yet", "data/not-there-yet"),
        ("outside/in", "data/inner"),
    ],
)
def test_what_is_inside_may_be_mounted_as_what_it_really_is(
    tmp_path: Path, data: Path, source: str, real: str
) -> None:
    policy = Policy(allowed_mounts=[str(data)])
    assert mounts(policy, f"{tmp_path}/{source}:/x:ro") == (f"{tmp_path}/{real}:/x:ro",)
    assert mounts(policy, f"/{tmp_path}/{source}:/x") == (f"{tmp_path}/{real}:/x:rw",)


@pytest.mark.parametrize(
    "source",
    ["", "database", "data/out", "data/out/deeper", "data/inner/up", "data/inner/up/database",
     "data/../database", "data/inner/../../outside", ".//database", "dat"],
)  # fmt: skip
def test_what_leads_outside_is_refused_however_it_is_written(
    tmp_path: Path, data: Path, source: str
) -> None:
    with pytest.raises(CannotStart):
        mounts(Policy(allowed_mounts=[str(data)]), f"{tmp_path}/{source}:/x")


def test_the_reason_names_the_setting_and_where_a_link_leads(tmp_path: Path, data: Path) -> None:
    with pytest.raises(CannotStart) as refusal:
        mounts(Policy(allowed_mounts=[f"{data}/"]), f"{data}/out:/x")
    assert str(refusal.value) == (
        f"n1 does not allow to mount {data}/out ({tmp_path}/outside) (runner.allowed_mounts)"
    )


def test_an_allowed_folder_may_be_a_link_itself(tmp_path: Path, data: Path) -> None:
    (tmp_path / "alias").symlink_to(data)
    policy = Policy(allowed_mounts=[str(tmp_path / "alias")])
    assert mounts(policy, f"{data}/inner:/x", f"{tmp_path}/alias/inner:/y") == (
        f"{data}/inner:/x:rw",
        f"{data}/inner:/y:rw",
    )


def test_without_allowed_folders_nothing_is_mounted_and_with_the_root_everything() -> None:
    with pytest.raises(CannotStart):
        mounts(Policy(allowed_mounts=[]), "/etc:/x")
    assert mounts(Policy(allowed_mounts=["/"]), "/etc:/x") == ("/etc:/x",)


def test_privileged_tasks_are_refused_where_they_are_not_wanted() -> None:
    given = order(privileged=True)
    assert permitted(given, Policy(), node="n1") == given
    with pytest.raises(CannotStart, match="runner.allow_privileged"):
        permitted(given, Policy(privileged=False), node="n1")
