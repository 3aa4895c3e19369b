"""A gateway's connection to its engine, which answers what it asks most without a round of ASGI."""

import asyncio
from typing import Any, Final

from starlette.responses import Response

from ragstone.hop.messages import ANSWER_HEAD, LARGEST_BODY
from ragstone.server.connection import Connection
from ragstone.server.engine import EngineDoor
from ragstone.server.engine_operation import Operation

_HEAD_END: Final = b"\r\n\r\n"


class GatewayConnection(Connection):
    """What begins with a head that the engine knows, and comes in one piece, is carried out at
    once: half of what an exchange costs the engine. All else goes to the application as usual.
    """

    def __init__(self, *args: Any, door: EngineDoor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._between_requests = True
        self._answering = False
        self._waiting = b""
        """What came meanwhile: answers go out in the order of their requests."""
        self._ends = False

    def data_received(self, data: bytes) -> None:
        if self._answering:
            self._waiting += data
            if len(self._waiting) > LARGEST_BODY:
                self.transport.abort()  # a gateway sends nothing before it has its answer
            return
        if self._between_requests and (self.cycle is None or self.cycle.response_complete):
            head_end = data.find(_HEAD_END)
            head, _, length = data[: max(0, head_end)].rpartition(b" ")
            operation = self._door.known(head)
            body = data[head_end + len(_HEAD_END) :]
            if operation is not None and length == b"%d" % len(body):
                self._begin(operation, body)
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._between_requests = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between_requests = True

    def shutdown(self) -> None:
        if self._answering:
            self._ends = True
        else:
            super().shutdown()

    def _begin(self, operation: Operation, body: bytes) -> None:
        self._unset_keepalive_if_required()
        self._answering = True
        task = self.loop.create_task(self._answer(operation, body))
        self.tasks.add(task)
        task.add_done_callback(self._done)

    async def _answer(self, operation: Operation, body: bytes) -> None:
        answer = await self._door.carry_out(operation, body, packed=True)
        if not self.transport.is_closing():
            self.transport.write(_encoded(answer))

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        self._answering = False
        if self._ends or task.cancelled():
            self.transport.close()
        elif self._waiting and not self.transport.is_closing():
            waiting, self._waiting = self._waiting, b""
            self.data_received(waiting)


def _encoded(answer: bytes | Response) -> bytes:
    if isinstance(answer, bytes):
        return b"%b%d\r\n\r\n%b" % (ANSWER_HEAD, len(answer), answer)
    headers = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers)
    return b"HTTP/1.1 %d \r\n%b\r\n%b" % (answer.status_code, headers, bytes(answer.body))
