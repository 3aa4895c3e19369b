"""A model that falls silent or breaks off after its first words ends a stream with one error."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

import pytest

from tests.server.conftest import POLICY, Running, Start

QUESTION = "Within how many days may full-price items be returned?"
CHAT = {"model": "help", "messages": [{"role": "user", "content": QUESTION}]}
ASKING = [("/v1/answers", {"question": QUESTION}), ("/v1/chat/completions", CHAT)]

Fault = Literal["silence", "pings", "drop", "error event"]


class BrokenModel:
    """An OpenAI-compatible server that says two pieces of text and then fails."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.asked = 0
        self.hung_up = asyncio.Event()
        """Set when the client has closed the connection of a stream."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self.asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for text in ("Forty-", "five"):
            self._event(writer, {"choices": [{"index": 0, "delta": {"content": text}}]})
        if self.fault == "error event":
            self._event(writer, {"error": {"message": "Out of memory.", "code": 500}})
        await writer.drain()
        if self.fault != "drop":
            with suppress(ConnectionError):  # a reset is a way to leave too
                await self._until_left(reader, writer)
            self.hung_up.set()
        writer.close()

    async def _until_left(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that leaves what it has not read behind resets the connection: no end is read.
        while self.fault == "pings" and not (reader.at_eof() or writer.is_closing()):
            writer.write(b"8\r\n: ping\n\n\r\n")
            await asyncio.sleep(0.005)
        await reader.read()

    def _event(self, writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
        event = b"data: " + json.dumps(data).encode() + b"\n\n"
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))


@asynccontextmanager
async def _broken(start: Start, fault: Fault) -> AsyncIterator[tuple[Running, BrokenModel]]:
    model = BrokenModel(fault)
    serving = await asyncio.start_server(model.answer, "127.0.0.1", 0)
    async with serving:
        port = serving.sockets[0].getsockname()[1]
        running = await start(
            llm={
                "base_url": f"http://127.0.0.1:{port}/v1",
                "model": "broken",
                "gap_seconds": 0.1,
            }
        )
        await running.ingest({"returns": POLICY})
        yield running, model


async def _told(running: Running, path: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and data of a stream's events; without a name, `chunk`."""
    async with running.http.post(path, json={**body, "stream": True}) as response:
        assert response.status == 200, await response.text()
        raw = (await response.read()).decode()
    told = []
    for block in raw.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        data = fields["data"]
        told.append((fields.get("event", "chunk"), data if data == "[DONE]" else json.loads(data)))
    return told


@pytest.mark.parametrize(("path", "body"), ASKING)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("silence", "model_timed_out"),
        ("pings", "model_timed_out"),
        ("drop", "model_protocol_error"),
        ("error event", "model_failed"),
    ],
)
async def test_a_stream_that_breaks_after_its_first_words_has_one_terminal_event(
    start: Start, path: str, body: dict[str, Any], fault: Fault, code: str
) -> None:
    async with _broken(start, fault) as (running, model):
        told = await _told(running, path, body)
        *before, (_, last) = told
        assert last["error"]["code"] == code
        assert not [data for _, data in before if "error" in data]
        assert not [name for name, data in told if name == "done" or data == "[DONE]"]
        said = "".join(_text(data) for _, data in before)
        assert said == "Forty-five"
        assert model.asked == 1  # never again: text that was seen cannot be taken back
        if fault != "drop":
            await model.hung_up.wait()
        s = running.system.services
        assert s.admission.in_flight == 0
        assert s.admission.slots_in_use == 0
        assert s.ledger.open_reservations == 0  # type: ignore[attr-defined]
        assert [d.in_flight for d in s.dependencies if d.name == "model"] == [0]


def _text(data: dict[str, Any]) -> str:
    """The answer's text in an event of either format."""
    if "choices" in data:
        return str(data["choices"][0]["delta"].get("content") or "")
    return str(data["text"]) if data.get("type") == "delta" else ""
