"""A client's connection on which requests that come again are answered at once; see `repeats`."""

import asyncio
from functools import partial
from typing import Any, Final

from ragstone.server.connection import Connection
from ragstone.server.repeats import AGAIN, LONGEST, PATH, Repeats, Sent

_URL: Final = PATH.encode()
_BODY_SECONDS: Final = 0.005
"""For a body that comes apart from its head, as many clients send it. What is to be refused for
lack of room waits so long, and no longer."""


class RepeatsConnection(Connection):
    """A request that may be a repeat begins when its body is there, or has not come soon.

    Of what comes in one piece the first alone: a thousand in a row would hold up all others."""

    def __init__(self, *args: Any, repeats: Repeats, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._repeats = repeats
        self._held: bytes | None = None
        """The body so far, of a request that has not begun."""
        self._wait: asyncio.TimerHandle | None = None
        """For the rest of it."""
        self._told = False
        """Whether a request of the present piece was told at once."""

    def data_received(self, data: bytes) -> None:
        self._told = False
        super().data_received(data)
        if self.transport.is_closing():  # what followed was no HTTP
            self._release()
        elif self._held is not None and self._wait is None:
            self._wait = self.loop.call_later(_BODY_SECONDS, self._begin_held)

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._held is not None:
            self._begin_held()
        super().shutdown()

    def on_headers_complete(self) -> None:
        if self.url == _URL and self._may_repeat():
            self._held = b""
        else:
            self._begin()

    def on_body(self, body: bytes) -> None:
        if self._held is not None and len(self._held) + len(body) <= LONGEST:
            self._held += body
            return
        if self._held is not None:
            self._begin_held()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._held is not None:
            sent = self._repeats.sent(self.headers, self._held)
            if sent is not None and self._repeat(sent):
                return
            self._begin_held(sent)
        super().on_message_complete()

    def _may_repeat(self) -> bool:
        return (
            not self._told
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def _repeat(self, sent: Sent) -> bool:
        response = self._repeats.response(sent, self.server_state.default_headers)
        if response is None:
            return False
        self._release()
        self._told = True
        self.transport.write(response)
        self.on_response_complete()
        return True

    def _begin_held(self, sent: Sent | None = None) -> None:
        held = self._release()
        if sent is not None:
            self.scope["extensions"] = {AGAIN: {"call": partial(self._repeats.remember, sent)}}
        self._begin()
        if held:
            super().on_body(held)

    def _release(self) -> bytes | None:
        """What was held."""
        held, self._held = self._held, None
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        return held

    def _begin(self) -> None:
        self._unset_keepalive_if_required()  # a repeat before it in the same piece has set it
        super().on_headers_complete()
