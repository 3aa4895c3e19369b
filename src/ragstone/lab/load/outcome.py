"""What became of a request: one class each."""

from enum import IntEnum
from typing import Final

from ragstone.lab.load.reading import Heard


class Outcome(IntEnum):
    """In the order of reports."""

    OK = 0
    DEGRADED = 1
    """Answered with a rung of the ladder."""
    ABSTAINED = 2
    """Answered that the documents do not say it."""
    REFUSED_429 = 3
    """Refused for the caller's own limits."""
    REFUSED_503 = 4
    """Refused for overload, or for want of something the target needs."""
    TIMEOUT = 5
    """The deadline passed, whoever said so."""
    ERROR = 6
    """Another status, a typed error in the stream, or no connection."""
    BROKEN = 7
    """Not exactly one terminal event, content after it, or data that is not the format."""
    LEFT = 8
    """The client went before the end, as the schedule said."""
    UNSENT = 9
    """The generator could not send it (no sockets left): the run is invalid."""

    @property
    def label(self) -> str:
        return self.name.lower()


ANSWERED: Final = (Outcome.OK, Outcome.DEGRADED, Outcome.ABSTAINED)
REFUSED: Final = (Outcome.REFUSED_429, Outcome.REFUSED_503)

_DEADLINE_CODE: Final = "deadline_exceeded"


def outcome_of(status: int, heard: Heard, *, complete: bool) -> Outcome:
    """The class of a response that ended by itself.

    `status` is 0 when none came; `complete` says whether the body ended as HTTP wants it.
    """
    if status == 429:
        return Outcome.REFUSED_429
    if status == 503:
        return Outcome.REFUSED_503
    if heard.code == _DEADLINE_CODE and (heard.ends, heard.errors) == (0, 1) and complete:
        return Outcome.TIMEOUT
    if status != 200:
        return Outcome.ERROR
    if not complete or heard.malformed or heard.after_end or heard.ends + heard.errors != 1:
        return Outcome.BROKEN
    if heard.errors:
        return Outcome.ERROR
    if heard.degraded:
        return Outcome.DEGRADED
    return Outcome.ABSTAINED if heard.answer_kind == "not_found" else Outcome.OK
