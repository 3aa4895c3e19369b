"""How a simulated model server behaves: one frozen, validated struct."""

import math
import random
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Tokens = Annotated[int, Meta(ge=0, le=100_000)]

FaultKind = Literal[
    "error",
    "rate_limit",
    "quota",
    "silence",
    "reset",
    "cut",
    "error_event",
    "garbage",
    "garbage_event",
]


class Lognormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log-normal distribution by its median; `sigma` is of the logarithm."""

    median: Annotated[float, Meta(gt=0, le=86_400)]
    sigma: Annotated[float, Meta(ge=0, le=5)] = 0.5

    def draw(self, chance: random.Random) -> float:
        return self.median * math.exp(self.sigma * chance.gauss(0.0, 1.0))


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong with a share of the requests. Before any answer:

    - `error`: HTTP `status`; `retry_after` where it is set
    - `rate_limit`: 429 with `Retry-After: retry_after`
    - `quota`: the account has no credit: OpenAI's 429 `insufficient_quota`, Anthropic's 400
      with `billing_error`
    - `garbage`: 200 with an HTML page

    After `after_tokens` tokens of a stream (0: before the first); of an answer in one piece,
    in the middle of it:

    - `silence`: no content for `seconds`, for ever where it is 0; pings go on if there are any
    - `reset`: the connection is reset (TCP RST)
    - `cut`: the connection is closed in the middle of an event
    - `error_event`: an error in the stream, which then ends; a 500 for an answer in one piece
    - `garbage_event`: an event that is not JSON
    """

    kind: FaultKind
    share: Share = 1.0
    """Of all requests; the shares of all faults are at most 1 together."""
    after_tokens: Tokens = 0
    seconds: Seconds = 0.0
    status: Annotated[int, Meta(ge=400, le=599)] = 500
    retry_after: Seconds | None = None


REFUSALS: frozenset[FaultKind] = frozenset({"error", "rate_limit", "quota", "garbage"})
"""Faults in the place of an answer."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. Times are in seconds; a time or a count is a number or a `Lognormal`."""

    seed: int = 0
    """Of everything that is drawn. Setting it begins the sequence anew."""
    first_token_seconds: Seconds | Lognormal = 0.0
    """From a place to the first token; for embeddings and rerank to the answer."""
    token_seconds: Seconds | Lognormal = 0.0
    """Between two tokens; 0 sends all of them at once."""
    tokens: Annotated[int, Meta(ge=1, le=100_000)] | Lognormal = 16
    """Tokens of an answer, never more than the request's own limit. A token is a word."""
    thinking_tokens: Tokens = 0
    """Tokens of reasoning before the first content, which they delay; not part of `tokens`."""
    places: Annotated[int, Meta(ge=0)] = 0
    """Requests that are worked on at once; others wait inside, in order. 0: all of them."""
    slowdown: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    """Each request beside it makes all times of a request longer by this share."""
    frozen_seconds: Seconds = 0.0
    """From when it is set: nothing is sent for so long, then all goes on. 0 ends it."""
    faults: list[Fault] = []
    """What goes wrong, and how often."""
    ping_seconds: Seconds = 0.0
    """While there is no content: an event without content so often. 0: none."""
    head_early: bool = False
    """The response's head comes at once, not with the first token."""
    slicing: Literal["event", "byte", "half", "several"] = "event"
    """How the stream is cut: an event in each write, every byte alone, events broken in their
    middle, or four events in each write."""
    line_end: Literal["lf", "crlf", "cr"] = "lf"
    """Of the event stream's lines."""
    comments: bool = False
    """A comment before each event."""

    def __post_init__(self) -> None:
        if sum(fault.share for fault in self.faults) > 1 + 1e-9:
            raise ValueError("the shares of the faults are more than 1 together")

    def fault(self, chance: random.Random) -> Fault | None:
        """What happens to the next request."""
        if not self.faults:
            return None
        drawn = chance.random()
        for fault in self.faults:
            drawn -= fault.share
            if drawn < 0:
                return fault
        return None


def draw(value: float | Lognormal, chance: random.Random) -> float:
    """A number as it is, a distribution drawn from."""
    return value.draw(chance) if isinstance(value, Lognormal) else value
