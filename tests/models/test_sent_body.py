"""When a request's body was sent."""

from typing import Any

from ragstone.models.llms.sent_body import Sending, SentBody
from tests.clock import VirtualClock


class SlowWriter:
    """A connection that takes a second for what is written."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def write(self, data: bytes) -> None:
        self._clock.advance(1.0)


async def test_its_time_begins_when_the_whole_of_it_was_written() -> None:
    clock = VirtualClock()
    writer: Any = SlowWriter(clock)
    sending = Sending(clock.monotonic)
    body = SentBody(b"{}", sending)
    clock.advance(5.0)
    assert sending.ago() is None
    await body.write_with_length(writer, None)
    assert sending.ago() == 0.0
    clock.advance(0.25)
    assert sending.ago() == 0.25
