"""Questions that come again, byte for byte: told a kept answer before there is a request.

Whoever was told a kept answer leaves behind what was read of the request, under a digest of its
credential and its body. The next one like it needs no decoding, no task, and no place among those
in flight, since it waits for nothing; it is authenticated, counted against its quotas, billed,
measured and logged like all others. Whatever is not as it was goes the way of `Endpoint`, uncounted
so far.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

import structlog

from ragstone.apps import ASSISTANT
from ragstone.domain.errors import RateLimited
from ragstone.domain.principal import Principal
from ragstone.governance.keys import hash_key, principal_of
from ragstone.observe.logging import say
from ragstone.observe.trace import new_trace_id
from ragstone.pipeline.again import Again, FoundAgain, Retelling
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.lookup import LookedUp
from ragstone.pipeline.services import AtHand
from ragstone.pipeline.tell import outcome_of
from ragstone.ports import ApiKey
from ragstone.server.auth import bearer_of
from ragstone.server.call import Call, count_request, request_line
from ragstone.server.rate_limits import limit_headers
from ragstone.system import System

PATH: Final = "/v1/answers"
LONGEST: Final = 16_384
"""Bytes of a body that may be remembered."""
AGAIN: Final = "ragstone.again"
"""The ASGI extension by which a handler leaves something for the next request like its own."""

_MOST: Final = 8_192
"""Requests that are remembered, one to two kilobytes each; then the oldest goes."""
_OK: Final = (
    b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n"
    b"x-trace-id: %b\r\nx-content-type-options: nosniff\r\n%b\r\n%b"
)
_log: Final = structlog.get_logger("ragstone.request")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case."""
Remember = Callable[[Call, Asked, LookedUp], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, as far as it is known before anything of it is decoded."""

    digest: bytes
    """Of its credential and body."""
    traceparent: str | None


@dataclass(slots=True)
class _Repeat:
    key: ApiKey
    principal: Principal
    again: Again


class Repeats:
    """Of one process."""

    def __init__(self, system: System, at_hand: AtHand) -> None:
        self._system = system
        self._at_hand = at_hand
        self._closed = False
        self._begin()

    def __len__(self) -> int:
        """Requests that are remembered."""
        return len(self._repeats)

    def close(self) -> None:
        """All go the ordinary way from now on, which refuses them while the server stops."""
        self._closed = True

    def _begin(self) -> None:
        self._services = self._system.services
        self._retelling = Retelling(self._at_hand, self._services)
        self._repeats: dict[bytes, _Repeat] = {}
        self._secret = token_bytes(32)
        """Nobody can find out by trying what was asked, nor choose what meets. Another one for
        other services: what began with the former ones is not found then."""

    def sent(self, headers: Headers, body: bytes) -> Sent | None:
        """None where more counts than the credential and the body, or where one is missing."""
        credential, traceparent = None, None
        for name, value in headers:
            if name == b"authorization":
                if credential is not None:
                    return None
                credential = value
            elif name == b"traceparent":
                traceparent = value.decode("latin-1") if traceparent is None else traceparent
            elif name == b"x-request-deadline-ms":
                return None
        if credential is None:
            return None
        digest = blake2b(credential, digest_size=32, key=self._secret)
        digest.update(b"\0")
        digest.update(body)
        return Sent(digest.digest(), traceparent)

    def remember(self, sent: Sent, call: Call, asked: Asked, found: LookedUp) -> None:
        """`call` was told what is kept for `asked`, and may be told so again."""
        key = self._at_hand.key(hash_key(bearer_of(call.headers)))
        if key is None or principal_of(key) != call.principal:
            return
        self._repeats.pop(sent.digest, None)
        if len(self._repeats) == _MOST:
            del self._repeats[next(iter(self._repeats))]
        self._repeats[sent.digest] = _Repeat(key, call.principal, Again.of(asked, found))

    def response(self, sent: Sent, default_headers: Headers) -> bytes | None:
        """The whole response, counted and logged; None where the request has to be looked at."""
        if self._services is not self._system.services:  # another model writes now
            self._begin()
        repeat = self._repeats.get(sent.digest)
        if repeat is None or self._closed:
            return None
        started = time.perf_counter()
        try:
            return self._response(sent, repeat, started, default_headers)
        except Exception:  # it would be taken for a fault in what the client sent
            _log.exception("unexpected", route=PATH)
            return None

    def _response(
        self, sent: Sent, repeat: _Repeat, started: float, default: Headers
    ) -> bytes | None:
        found = self._found(repeat)
        if found is None:
            del self._repeats[sent.digest]  # the ordinary way leaves it anew, if all is well
            return None
        try:
            if self._services.quotas is not None:
                self._services.quotas.check_request(repeat.principal)
        except RateLimited:
            return None
        return self._told(sent, repeat, found, started, default)

    def _found(self, repeat: _Repeat) -> FoundAgain | None:
        key = self._at_hand.key(repeat.key.sha256)
        if key is not repeat.key:
            if key != repeat.key:
                return None
            repeat.key = key
        return self._retelling.find(repeat.again)

    def _told(
        self, sent: Sent, repeat: _Repeat, found: FoundAgain, started: float, default: Headers
    ) -> bytes:
        trace_id = new_trace_id(sent.traceparent)
        seconds = time.perf_counter() - started
        stages = {"recall": round(found.seconds * 1000, 3)}
        timings = {**stages, "total": round(seconds * 1000, 3)}
        body = self._retelling.tell(repeat.again, found, timings, trace_id)
        outcome = outcome_of([], not_found=found.kept.not_found)
        count_request(self._system.metrics, PATH, ASSISTANT.name, outcome, seconds)
        line = request_line(trace_id, PATH, 200, outcome, "hit", seconds, stages=stages)
        say(_log, "request", line)
        limits = limit_headers(self._system, repeat.principal)
        return _OK % (_lines(default), len(body), trace_id.encode(), _lines(limits), body)


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
