"""Names of tarballs, manifests, which versions stay, and who holds which."""

from __future__ import annotations

import pytest

from hakuriver.model.errors import Refused
from hakuriver.model.tarball import (
    Version,
    holders,
    manifest_from_json,
    manifest_to_json,
    parse_name,
    superseded,
)

IMAGE = "sha256:" + "a" * 64
VERSION = Version("my-env", 1700000000, IMAGE, 2048, "b" * 64, "lab", ("sha256:" + "c" * 64,))


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("my-env-1700000000.tar", ("my-env", 1700000000, "tar")),
        ("my-env-1700000000.json", ("my-env", 1700000000, "json")),
        ("a.b_c-7-8.tar", ("a.b_c-7", 8, "tar")),
        ("my-env.tar", None),
        ("My-Env-1700000000.tar", None),
        ("-1.tar", None),
        (".part-my-env.tar", None),
        (".withdrawn-my-env-1700000000.tar", None),
        ("../my-env-1.tar", None),
        ("my-env-1700000000.tar.gz", None),
        ("my-env-123456789012.tar", None),
    ],
)
def test_a_name_is_read_or_passed_over(name: str, parsed: tuple | None) -> None:
    assert parse_name(name) == parsed


def test_a_manifest_says_what_it_was_told() -> None:
    document = manifest_to_json(VERSION)
    assert manifest_from_json(document, "my-env", 1700000000) == VERSION
    assert document["tarball"] == "my-env-1700000000.tar"


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "other"},
        {"created_at": 5},
        {"tarball": "../../etc/passwd"},
        {"image_id": "latest"},
        {"image_id": "--help"},
        {"sha256": ""},
        {"size": -1},
        {"size": "big"},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_is_not_this_tarballs_is_refused(change: dict) -> None:
    with pytest.raises(Refused):
        manifest_from_json({**manifest_to_json(VERSION), **change}, "my-env", 1700000000)


def versions(environment: str, *times: int) -> list[Version]:
    return [Version(environment, time, IMAGE, 1) for time in times]


@pytest.mark.parametrize(("keep", "gone"), [(0, [2, 1]), (1, [2, 1]), (2, [1]), (3, []), (9, [])])
def test_the_newest_versions_stay_and_one_always(keep: int, gone: list[int]) -> None:
    given = [*versions("a", 2, 1, 3), *versions("b", 1)]
    found = superseded(given, keep)
    assert [(v.environment, v.time) for v in found] == [("a", time) for time in gone]


def test_a_node_holds_the_version_whose_image_it_has() -> None:
    nodes = {
        "n2": {"my-env": IMAGE},
        "n1": {"my-env": IMAGE, "other": "sha256:x"},
        "n3": {"my-env": "sha256:older"},
        "n4": {"other": IMAGE},
    }
    assert holders(VERSION, nodes) == ["n1", "n2"]
