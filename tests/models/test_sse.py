"""The event-stream parser follows the standard however the network cuts the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.errors import ModelProtocolError
from ragstone.models.llms.sse import EventStreamParser, ServerSentEvent


def events_of(*chunks: bytes) -> list[tuple[str, bytes]]:
    parser = EventStreamParser()
    return [tuple(event) for chunk in chunks for event in parser.feed(chunk)]


def expected_events(stream: bytes) -> list[tuple[str, bytes]]:
    """The standard's rules, written out slowly over the decoded text."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events: list[tuple[str, bytes]] = []
    data, name = "", ""
    for line in lines:
        if line == "":
            if data:
                kind = name.encode("latin-1").decode("utf-8", "replace") or "message"
                events.append((kind, data.removesuffix("\n").encode("latin-1")))
            data, name = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
    return events


line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
lines = st.sampled_from(
    [
        b"data: plain",
        "data: größer 💶 日本".encode(),
        b"data:no space",
        b"data:  two spaces",
        b"data",
        b"data:",
        b"event: delta",
        b"event",
        b": a comment",
        b":",
        b"id: 7",
        b"retry: 10",
        b"unknown: field",
        b"data : not the field",
        b"",
        b"",
        b"",
    ]
)
streams = st.builds(
    lambda mark, pairs, tail: mark + b"".join(line + end for line, end in pairs) + tail,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(lines, line_ends), max_size=30),
    st.sampled_from([b"", b"data: unfinished", b"event: x"]),
)


@given(stream=streams, cuts=st.lists(st.integers(0, 400), max_size=40))
def test_any_slicing_gives_the_events_of_the_standard(stream: bytes, cuts: list[int]) -> None:
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(borders)]
    assert events_of(*chunks) == expected_events(stream)


@given(stream=st.binary(max_size=200))
def test_arbitrary_bytes_one_by_one_never_crash(stream: bytes) -> None:
    one_by_one = events_of(*(bytes([byte]) for byte in stream))
    assert one_by_one == events_of(stream) == expected_events(stream)


@given(stream=streams)
def test_empty_chunks_change_nothing(stream: bytes) -> None:
    chunks = [piece for byte in stream for piece in (b"", bytes([byte]), b"")]
    assert events_of(*chunks) == expected_events(stream)


def test_lines_of_data_are_joined_and_the_event_is_named() -> None:
    assert events_of(b"event: delta\ndata: one\ndata: two\n\n") == [("delta", b"one\ntwo")]


def test_a_character_cut_in_the_middle_arrives_whole() -> None:
    stream = "data: 💶\n\n".encode()
    assert events_of(stream[:7], stream[7:9], stream[9:]) == [("message", "💶".encode())]


def test_an_event_without_its_blank_line_is_discarded() -> None:
    assert events_of(b"data: one\n\ndata: two\n") == [("message", b"one")]


def test_events_are_given_as_soon_as_they_are_complete() -> None:
    parser = EventStreamParser()
    assert parser.feed(b"data: one\r\n\r") == [ServerSentEvent("message", b"one")]
    assert parser.feed(b"\n") == []


@pytest.mark.parametrize(
    "flood",
    [
        [b"data: " + b"x" * 200],
        [b"x" * 60] * 2,
        [b"data: 1234567890\n"] * 10,
        [b"data: " + b"x" * 200 + b"\n\n"],
    ],
    ids=["one line", "a line in pieces", "many lines", "one whole event"],
)
def test_an_endless_event_is_refused(flood: list[bytes]) -> None:
    parser = EventStreamParser(max_event_bytes=100)
    with pytest.raises(ModelProtocolError, match="more than 100 bytes"):
        [parser.feed(chunk) for chunk in flood]


def test_many_small_events_stay_below_the_limit() -> None:
    parser = EventStreamParser(max_event_bytes=100)
    assert sum(len(parser.feed(b"data: 1234567890\n\n")) for _ in range(1000)) == 1000


def test_a_read_of_exactly_one_event_is_that_event_whatever_came_before() -> None:
    parser = EventStreamParser()
    assert [event.data for event in parser.feed(b"data: a\n\n")] == [b"a"]
    assert [event.data for event in parser.feed(b"data: b\n\n")] == [b"b"]
    assert parser.feed(b"event: named\n") == []
    assert [event.name for event in parser.feed(b"data: c\n\n")] == ["named"]
    assert parser.feed(b"data: d\n") == []
    assert [event.data for event in parser.feed(b"data: e\n\n")] == [b"d\ne"]
    assert [event.data for event in parser.feed(b"data: f\rdata: g\n\n")] == [b"f\ng"]
    assert [event.data for event in parser.feed(b"data: h\n\n")] == [b"h"]
