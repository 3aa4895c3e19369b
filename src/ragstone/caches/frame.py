"""How a value travels to a store outside of this process, and how it is known again.

    checksum (16) | put at (8) | expires (8) | length of the group's name (2) | name | value

The checksum is over the key and all that follows. Times are Unix seconds. When it expires, and its
group, are told for a store that has lost its list of the group: an erased document's answers are
found by them.
"""

import struct
from hashlib import blake2b
from typing import Final, NamedTuple

_CHECKSUM_BYTES: Final = 16
_ABOUT: Final = struct.Struct(">ddH")
_HEAD: Final = _CHECKSUM_BYTES + _ABOUT.size


class Framed(NamedTuple):
    """What a frame holds."""

    value: bytes
    put_at: float
    expires: float
    group: bytes


def framed(key: bytes, content: Framed) -> bytes:
    """`group`: at most 65,535 bytes."""
    value, put_at, expires, group = content
    rest = _ABOUT.pack(put_at, expires, len(group)) + group + value
    return _checksum(key, rest) + rest


def unframed(key: bytes, frame: object) -> Framed | None:
    """None for anything that is not what was put under this key."""
    if not isinstance(frame, bytes) or len(frame) < _HEAD:
        return None
    rest = frame[_CHECKSUM_BYTES:]
    if frame[:_CHECKSUM_BYTES] != _checksum(key, rest):
        return None
    put_at, expires, length = _ABOUT.unpack_from(rest)
    starts = _ABOUT.size + length
    return Framed(rest[starts:], put_at, expires, rest[_ABOUT.size : starts])


def _checksum(key: bytes, rest: bytes) -> bytes:
    digest = blake2b(len(key).to_bytes(4, "big") + key, digest_size=_CHECKSUM_BYTES)
    digest.update(rest)
    return digest.digest()
