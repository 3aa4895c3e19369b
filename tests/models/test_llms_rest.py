"""The rest between two reads of a stream."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ragstone.models.llms.rest import Rest
from tests.virtual_loop import run, running_clock


class Transport:
    """Notes when it is paused and resumed."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []
        self.closing = False

    def pause_reading(self) -> None:
        self.told.append(("pause", running_clock().monotonic()))

    def resume_reading(self) -> None:
        self.told.append(("resume", running_clock().monotonic()))

    def is_closing(self) -> bool:
        return self.closing


def response(transport: Transport | None) -> Any:
    return SimpleNamespace(connection=SimpleNamespace(transport=transport))


@pytest.mark.parametrize(("cancelled", "closed"), [(False, False), (True, False), (False, True)])
def test_it_ends_by_itself_unless_the_connection_did(cancelled: bool, closed: bool) -> None:
    async def scenario() -> None:
        transport, rest = Transport(), Rest()
        began = running_clock().monotonic()
        assert rest.begin(response(transport), 0.25)
        await asyncio.sleep(0.1)
        transport.closing = closed
        if cancelled:
            rest.cancel()
        await asyncio.sleep(10)
        expected = [("pause", began)]
        if not (cancelled or closed):
            expected.append(("resume", pytest.approx(began + 0.25)))
        assert transport.told == expected

    run(scenario())


def test_without_a_reason_or_a_connection_there_is_none() -> None:
    async def scenario() -> None:
        transport, rest = Transport(), Rest()
        assert not rest.begin(response(transport), 0.0)
        assert not rest.begin(response(None), 0.25)
        assert not rest.begin(SimpleNamespace(connection=None), 0.25)  # type: ignore[arg-type]
        rest.cancel()
        assert transport.told == []

    run(scenario())
