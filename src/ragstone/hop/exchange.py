"""Which messages a gateway and its engine understand, so that two versions that do not fit say so.

A gateway names its own in a header of each request and finds the engine's in `/engine/v1/about`.
"""

from typing import Final

from ragstone import __version__
from ragstone.domain.errors import DependencyError

EXCHANGE: Final = 2
"""Of the messages in `hop.messages`: one more with each change that the other side would not
read, a new operation included. 1 had no number."""

EXCHANGE_HEADER: Final = "x-ragstone-exchange"
MISMATCH: Final = "engine.version"
"""The field of the errors of two that do not fit."""
SPOKEN: Final = f"{EXCHANGE}; Ragstone {__version__}"
"""What this process says in that header."""


def require_ours(said: str) -> None:
    """On the engine's side, of a gateway's header. Raises `DependencyError` where it differs."""
    exchange, _, version = said.partition("; Ragstone ")
    if exchange != str(EXCHANGE):
        raise _mismatch(f"{version} (exchange {exchange})", _OURS)


def require_theirs(exchange: int, version: str) -> None:
    """On the gateway's side, of what its engine says. Raises `DependencyError` likewise."""
    if exchange != EXCHANGE:
        raise _mismatch(_OURS, f"{version} (exchange {exchange})")


_OURS: Final = f"{__version__} (exchange {EXCHANGE})"


def _mismatch(gateway: str, engine: str) -> DependencyError:
    return DependencyError(
        f"This gateway is of Ragstone {gateway[:80]}, its engine of {engine[:80]}: they do not "
        "understand each other.",
        remedy="Run the same version of Ragstone on both sides.",
        field=MISMATCH,
    )
