"""What the head of a request says, before its body is read: who asks, until when, how much,
and whether they may.

An overloaded server has no time to read what it will refuse.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from ragstone.apps import ASSISTANT
from ragstone.domain.errors import InvalidRequest, RagstoneError
from ragstone.domain.principal import Principal, Priority, Scope
from ragstone.resilience.admission import weight_of
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.pressure import tells_of_load
from ragstone.server.auth import authenticate, require
from ragstone.system import System

DEADLINE_HEADER: Final = "X-Request-Deadline-Ms"

_NOBODY: Final = Principal(tenant="")


class Arrival(msgspec.Struct, frozen=True):
    """A request whose sender is known."""

    principal: Principal
    priority: Priority
    weight: int
    """Slots of admission: by the declared length of the body, then by what turns out."""
    deadline: Deadline

    @classmethod
    def of_nobody(cls, system: System) -> "Arrival":
        """Of a request to what is open to everybody."""
        return cls(_NOBODY, "standard", 1, _default_deadline(system))

    def weighing(self, weight: int) -> "Arrival":
        """The same, of at least this weight: the head need not say how much there is to do."""
        return self if weight <= self.weight else msgspec.structs.replace(self, weight=weight)


async def identify(headers: Mapping[str, str], system: System, scope: Scope) -> Principal:
    """Who asks. `headers` by their names in lower case. Raises `Unauthenticated`, `Forbidden`."""
    principal = await authenticate(headers, system)
    require(principal, scope)
    return principal


def let_in(
    principal: Principal,
    headers: Mapping[str, str],
    system: System,
    *,
    admitted: bool,
    limited: bool,
) -> Arrival:
    """For what is `limited`, whether they may ask in this minute; for what is `admitted`,
    whether there may be room for it.

    Where `admitted` it raises `InvalidRequest` for a deadline that is none, and what
    `ports.Admission.check` raises; where `limited`, `RateLimited`. A request counts against its
    quota also when admission refuses it then.
    """
    priority = principal.priority or ASSISTANT.priority
    if admitted:
        weight, deadline = weight_of(declared_length(headers)), _deadline(headers, system)
    else:
        weight, deadline = 1, _default_deadline(system)
    arrival = Arrival(principal, priority, weight, deadline)
    s = system.services
    try:
        if limited and s.quotas is not None:
            s.quotas.check_request(principal)
        if admitted:
            s.admission.check(principal, priority=priority, weight=weight, deadline=deadline.at)
    except RagstoneError as refusal:
        system.metrics.rejections.labels(refusal.code, priority).inc()
        if tells_of_load(refusal):
            s.ladder.observe_wait(math.inf, priority)
        raise
    return arrival


def declared_length(headers: Mapping[str, str]) -> int | None:
    """What the request says of its length, where that is a number at all."""
    declared = headers.get("content-length", "")
    # Python refuses to read thousands of digits, and "²" is a digit to it.
    if not declared.isascii() or not declared.isdigit() or len(declared) > 18:
        return None
    return int(declared)


def _default_deadline(system: System) -> Deadline:
    return Deadline(system.clock, system.settings.admission.deadline_seconds)


def _deadline(headers: Mapping[str, str], system: System) -> Deadline:
    """The client's, where it is shorter than ours."""
    asked = headers.get(DEADLINE_HEADER.lower())
    if asked is None:
        return _default_deadline(system)
    asked = asked.strip()
    digits = asked.isascii() and asked.isdigit() and len(asked) <= 18
    if not digits or int(asked) < 1:
        raise InvalidRequest(
            f"The header {DEADLINE_HEADER} holds {asked[:40]!r}, which is no number of "
            "milliseconds from 1.",
            remedy="Send how many milliseconds from now the answer is of use, or leave it out.",
            field=DEADLINE_HEADER,
        )
    seconds = min(int(asked) / 1000, system.settings.admission.deadline_seconds)
    return Deadline(system.clock, seconds)
