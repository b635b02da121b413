"""The frames of shells: whole however they are cut, and nothing else let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hakuriver.model.errors import BadRequest
from hakuriver.system.frames import PAYLOAD_MAX, Decoder, Exit, Frame, Kind, Size

FRAMES = st.lists(
    st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=300)), min_size=1, max_size=8
)


@given(FRAMES, st.data())
def test_frames_arrive_whole_however_they_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    sent = b"".join(frame.encode() for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    decoder = Decoder()
    found: list[Frame] = []
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        found += decoder.feed(sent[begin:end])
    assert found == frames


@pytest.mark.parametrize(
    "data",
    [b"?\0\0\0\0", b"o" + (PAYLOAD_MAX + 1).to_bytes(4, "big"), b"GET / HTTP/1.1\r\n"],
    ids=["kind", "size", "another protocol"],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        list(Decoder().feed(data))


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_waited_for(data: bytes) -> None:
    try:
        list(Decoder().feed(data))
    except BadRequest as error:
        assert error.detail


def test_exit_and_size_say_what_they_were_told() -> None:
    result = Exit(7, "the engine stopped", "start it")
    assert Exit.read(result.frame().payload) == result
    assert Size.read(Size(50, 120).frame().payload) == Size(50, 120)
    for payload in (b"", b"{}", b"[]", b'{"code": "x", "error": "", "hint": ""}', b"\xff"):
        with pytest.raises(BadRequest):
            Exit.read(payload)
    with pytest.raises(BadRequest):
        Size.read(b"123")
