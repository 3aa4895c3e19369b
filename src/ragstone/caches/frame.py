"""How a value travels to a store outside of this process, and how it is known again."""

import struct
from hashlib import blake2b
from typing import Final

_CHECKSUM_BYTES: Final = 16
_PUT_AT: Final = struct.Struct(">d")
_HEAD: Final = _CHECKSUM_BYTES + _PUT_AT.size


def framed(key: bytes, value: bytes, put_at: float) -> bytes:
    """The value with the Unix time at which it was put, and a checksum over both and the key."""
    rest = _PUT_AT.pack(put_at) + value
    return _checksum(key, rest) + rest


def unframed(key: bytes, frame: object) -> tuple[bytes, float] | None:
    """Value and time; None for anything that is not what was put under this key."""
    if not isinstance(frame, bytes) or len(frame) < _HEAD:
        return None
    rest = frame[_CHECKSUM_BYTES:]
    if frame[:_CHECKSUM_BYTES] != _checksum(key, rest):
        return None
    (put_at,) = _PUT_AT.unpack_from(rest)
    return rest[_PUT_AT.size :], put_at


def _checksum(key: bytes, rest: bytes) -> bytes:
    digest = blake2b(len(key).to_bytes(4, "big") + key, digest_size=_CHECKSUM_BYTES)
    digest.update(rest)
    return digest.digest()
