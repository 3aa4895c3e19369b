"""Compressed sources, unpacked only as far as the limits allow."""

import io
import zipfile
import zlib

from ragstone.domain.errors import DamagedDocument
from ragstone.ingest.parse.limits import ParseLimits

_STEP = 1 << 18


def gunzip(name: str, content: bytes, limits: ParseLimits) -> bytes:
    """Unpack gzip, also of several members. Stops before a limit is passed.

    Raises `DocumentTooLarge`, `DamagedDocument`.
    """
    out = bytearray()
    rest = content
    while rest:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                piece = member.decompress(rest, _STEP)
            except zlib.error:
                raise _damaged(name) from None
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise _damaged(name)
            out += piece
            limits.check_unpacked(name, len(content), len(out))
        # Some writers pad the end with zero bytes.
        rest = member.unused_data.lstrip(b"\0")
    return bytes(out)


def check_zip(name: str, content: bytes, limits: ParseLimits) -> frozenset[str]:
    """The member names of a zip archive that is safe to open.

    The sizes are those that its directory declares; Python's reader delivers no more than
    declared. Members that are archives themselves are never opened, so nothing nests.
    Raises `DocumentTooLarge`, `DamagedDocument`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError):
        raise _damaged(name) from None
    limits.check_unpacked(name, len(content), sum(member.file_size for member in members))
    return frozenset(member.filename for member in members)


def _damaged(name: str) -> DamagedDocument:
    return DamagedDocument(
        f"{name} is a damaged or incomplete archive.", remedy="Copy or export the file again."
    )
