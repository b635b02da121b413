"""The ring that output is kept in, and how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hakuriver.system.output_ring import OutputRing, seconds_left

SIZE = 16


@given(st.lists(st.binary(max_size=40)))
def test_the_newest_bytes_are_there_at_their_positions(pieces: list[bytes]) -> None:
    ring = OutputRing(SIZE)
    for piece in pieces:
        ring.append(piece)
    whole = b"".join(pieces)
    assert (ring.start, ring.end) == (max(0, len(whole) - SIZE), len(whole))
    for at in range(ring.start, ring.end + 1):
        assert ring.read(at, SIZE) == whole[at:]
        assert ring.read(at, 3) == whole[at : at + 3]


@given(st.data())
def test_nothing_unseen_goes_while_there_is_room_for_what_comes(data: st.DataObject) -> None:
    ring, seen = OutputRing(SIZE), 0
    for _ in range(data.draw(st.integers(0, 30))):
        ring.append(b"x" * data.draw(st.integers(0, ring.room(seen))))
        assert ring.start <= seen
        seen = data.draw(st.integers(seen, ring.end))


def test_a_full_ring_has_room_for_what_was_seen() -> None:
    ring = OutputRing(SIZE)
    assert ring.room(0) == SIZE
    ring.append(b"x" * SIZE)
    assert (ring.room(0), ring.room(5), ring.room(SIZE)) == (0, 5, SIZE)


def test_where_there_is_nothing_the_nearest_is_taken() -> None:
    ring = OutputRing(SIZE)
    ring.append(b"x" * 20)
    assert [ring.nearest(at) for at in (0, 3, 4, 10, 20, 99)] == [4, 4, 4, 10, 20, 20]


def test_a_session_waits_its_time_from_when_it_was_left() -> None:
    assert seconds_left(None, 1000, 120) is None
    assert seconds_left(1000, 1000, 120) == 120
    assert seconds_left(1000, 1119, 120) == 1
    assert seconds_left(1000, 1120, 120) == 0
