"""Where a task is to run, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.errors import Refused
from hakuriver.model.target import Target, check_environment_name, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("node1", Target("node1")),
        ("node1:0", Target("node1", 0)),
        ("gpu-3.example.org:12", Target("gpu-3.example.org", 12)),
        ("A_b", Target("A_b")),
        ("10.0.0.1", Target("10.0.0.1")),
    ],
)
def test_a_target_is_a_node_or_one_of_its_numa_nodes(text: str, target: Target) -> None:
    assert parse_target(text) == target
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", ":0", "node1:", "node1:x", "node1:-1", "node1:1.5", "node1:٣", "node1:0:1", "node1:99999",
     "-node", ".node", "no de", "node\n", "node/1", "nöde", "n" * 254, "node1: 0", "\0", "\udcff"],
)  # fmt: skip
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_target(text)


@given(st.text(max_size=20))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        parse_target(text)
    except Refused as error:
        assert error.hint


@pytest.mark.parametrize("name", ["base", "py3.12", "a-b", "a_b", "0", "x" * 128])
def test_an_environment_is_called_as_an_image_can_be(name: str) -> None:
    assert check_environment_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Base", "a b", "-a", "a-", ".a", "a..b", "a__b", "a/b", "a:b", "é", "x" * 129, "a\n", "..", "a\0"]
)  # fmt: skip
def test_a_name_that_no_image_can_have_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        check_environment_name(name)
