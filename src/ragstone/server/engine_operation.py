"""One operation of the engine's door, in the formats in which it may be asked."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

_JSON: Final = msgspec.json.Encoder()
_MESSAGE_PACK: Final = msgspec.msgpack.Encoder()


class Operation:
    """What is done with a request of type `asked`."""

    __slots__ = ("_do", "_json", "_packed")

    def __init__(self, asked: Any, do: Callable[[Any], Awaitable[object]]) -> None:
        """`asked`: a type, or None where nothing is asked."""
        self._json = msgspec.json.Decoder(asked)
        self._packed = msgspec.msgpack.Decoder(asked)
        self._do = do

    async def answer(self, body: bytes, *, packed: bool) -> bytes:
        """In the format of the request: `packed` is MessagePack, else it is JSON.

        Raises `msgspec.MsgspecError` where the request does not fit.
        """
        if packed:
            return _MESSAGE_PACK.encode(await self._do(self._packed.decode(body)))
        return _JSON.encode(await self._do(self._json.decode(body)))
