"""What a supervisor and its processes tell each other: lines of JSON over a pair of sockets.

That a line ends is told by the socket too: when the supervisor is gone, its processes read
the end of the stream.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import SecretStr

from ragstone.domain.errors import RagstoneError
from ragstone.settings import Settings


class EngineTask(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To a process when it starts: be the engine."""

    settings: dict[str, Any]
    folder: str
    """For sockets; the engine removes it should its supervisor be gone."""
    socket: str
    token: str
    local_token: str
    supervisor: int
    """Its pid."""
    quotas: str
    """The file with the buckets of quotas that all processes share."""
    processes: int
    """How many share it."""


class GatewayTask(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To a process when it starts: be a gateway."""

    settings: dict[str, Any]
    socket: str | None
    """The engine's; None for one at `engine.url`."""
    token: str
    local_token: str
    listener: int
    """File descriptor of the socket that all gateways share."""
    board: str
    """The file with the counts of all gateways, and this one's row in it."""
    row: int
    quotas: str
    """The file with the buckets of quotas that all processes share."""
    processes: int
    """How many share it."""


Task = EngineTask | GatewayTask


class Open(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """To gateways: the socket listens, accept; to the engine: commands may come to `url`."""

    url: str


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From a process: it does what it was told to be."""


class Failed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """From a process: it cannot, and starting it again would not help."""

    code: str
    message: str
    remedy: str | None
    field: str | None

    @classmethod
    def of(cls, error: RagstoneError) -> "Failed":
        return cls(code=error.code, message=error.message, remedy=error.remedy, field=error.field)


TO_CHILD: Final = msgspec.json.Decoder(EngineTask | GatewayTask | Open)
FROM_CHILD: Final = msgspec.json.Decoder(Ready | Failed)

LONGEST_LINE: Final = 1 << 20


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def settings_to_tell(settings: Settings) -> dict[str, Any]:
    """Secrets included: these lines never leave the pair of sockets."""
    plain = msgspec.json.encode(settings.model_dump(), enc_hook=_plain)
    told: dict[str, Any] = msgspec.json.decode(plain)
    return told


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value))
