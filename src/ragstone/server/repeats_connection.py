"""A client's connection on which requests that come again are answered at once; see `repeats`."""

from functools import partial
from typing import Any, Final

from ragstone.server.connection import Connection
from ragstone.server.repeats import AGAIN, LONGEST, PATH, Repeats, Sent

_URL: Final = PATH.encode()


class RepeatsConnection(Connection):
    """A request that may be a repeat begins only when its body is there, but waits for no more of
    it than came together with its head.

    Of what comes in one piece the first alone: a thousand in a row would hold up all others."""

    def __init__(self, *args: Any, repeats: Repeats, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._repeats = repeats
        self._held: bytes | None = None
        """The body so far, of a request that has not begun."""
        self._told = False
        """Whether a request of the present piece was told at once."""

    def data_received(self, data: bytes) -> None:
        self._told = False
        super().data_received(data)
        if self.transport.is_closing():  # what followed was no HTTP
            self._held = None
        elif self._held is not None:
            self._begin_held()

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
        self._held, self._told = None, True
        self.transport.write(response)
        self.on_response_complete()
        return True

    def _begin_held(self, sent: Sent | None = None) -> None:
        held, self._held = self._held, None
        if sent is not None:
            self.scope["extensions"][AGAIN] = {"call": partial(self._repeats.remember, sent)}
        self._begin()
        if held:
            super().on_body(held)

    def _begin(self) -> None:
        self._unset_keepalive_if_required()  # a repeat before it in the same piece has set it
        super().on_headers_complete()
