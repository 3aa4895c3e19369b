"""How much a source may hold before reading it is refused."""

import msgspec

from ragstone.domain.errors import DocumentTooLarge

HARMLESS_BYTES = 1_000_000
"""An archive that unpacks to no more than this is no bomb, whatever its ratio."""


class ParseLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on one source and on each document in it."""

    max_file_bytes: int = 50_000_000
    """Size of the source as it came."""
    max_document_chars: int = 5_000_000
    """Text of one document, in Unicode code points."""
    max_unpacked_bytes: int = 200_000_000
    """Size of a compressed source (DOCX, .gz) once unpacked."""
    max_unpack_ratio: int = 100
    """Unpacked bytes for each packed byte. Text packs to a tenth; a bomb to a thousandth."""

    def check_file(self, name: str, size: int) -> None:
        """Raise `DocumentTooLarge` for a source of `size` bytes."""
        if size > self.max_file_bytes:
            raise DocumentTooLarge(
                f"{name} has {size:,} bytes; at most {self.max_file_bytes:,} are read.",
                remedy="Split the file, or raise ingest.max_file_bytes.",
                field="ingest.max_file_bytes",
            )

    def check_unpacked(self, name: str, packed: int, unpacked: int) -> None:
        """Raise `DocumentTooLarge` when `packed` bytes grow to `unpacked`, which is too much."""
        if unpacked > self.max_unpacked_bytes:
            raise DocumentTooLarge(
                f"{name} unpacks to more than {self.max_unpacked_bytes:,} bytes.",
                remedy="Split the file into smaller ones.",
            )
        if unpacked > HARMLESS_BYTES and unpacked > packed * self.max_unpack_ratio:
            raise DocumentTooLarge(
                f"{name} unpacks to more than {self.max_unpack_ratio} times its size, "
                "as a decompression bomb does.",
                remedy="Provide the file unpacked.",
            )
