"""Room on the disk, asked for before anything is written.

The engine writes through mapped files. Where the disk is full, such a write is no error that
could be caught: the system ends the process with SIGBUS (mmap(2)). So nothing is begun that the
disk may have no room for, and the index goes on being read.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ragstone.domain.document import IndexedChunk
from ragstone.domain.errors import IndexUnavailable

RESERVE_BYTES: Final = 64 << 20
"""Left free for what is not asked for: two log files of 32 MiB, which grow ahead of use."""
_TIMES_WRITTEN: Final = 4
"""A chunk is in the log, in the storage of the engine and in its indexes, which are rewritten."""
_BYTES_PER_NUMBER: Final = 4
_BLOCK: Final = 512
"""Of `st_blocks`, whatever the file system's own (stat(2))."""


def free_bytes(folder: Path) -> int:
    """What a process without special rights may still write there."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def size_of_tree(folder: Path) -> int:
    """Bytes of its files that are on the disk; those with holes are longer."""
    return sum(entry.stat().st_blocks * _BLOCK for entry in folder.rglob("*") if entry.is_file())


class Room:
    """The disk that has `folder`."""

    def __init__(self, folder: Path, free: Callable[[Path], int] = free_bytes) -> None:
        self._folder = folder
        self._free = free

    def require(self, size: int = 0) -> None:
        """Raises `IndexUnavailable` when `size` bytes more would leave less than the reserve."""
        free, needed = self._free(self._folder), size + RESERVE_BYTES
        if free < needed:
            raise IndexUnavailable(
                f"The disk of the index has {free >> 20} MiB left, and writing needs "
                f"{(needed >> 20) + 1}.",
                remedy="Make room; searches go on meanwhile.",
            )


def bytes_to_write(chunks: Iterable[IndexedChunk]) -> int:
    """A generous estimate of what publishing them takes on the disk."""
    return _TIMES_WRITTEN * sum(
        _BYTES_PER_NUMBER * len(chunk.vector)
        + len(chunk.chunk.text)
        + len(chunk.lexical_text)
        + len(chunk.title)
        for chunk in chunks
    )
