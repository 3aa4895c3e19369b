"""Where a process keeps its numbers: in its memory, or in files that other processes read too.

Numbers are 8-byte floats, each written by one thread at a time (see `instruments`).
"""

import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

Key = tuple[str, tuple[str, ...]]
"""A metric's name and the values of its labels."""

Numbers = dict[Key, list[float]]
"""What one process has counted."""

_BLOCK: Final = 65_536
"""Bytes by which a file grows, a multiple of what can be mapped; most of it is never written."""

_HEAD: Final = struct.Struct("=ii")
_KEY: Final = msgspec.json.Decoder(Key)
_log: Final = structlog.get_logger("ragstone.metrics")


class Cells(Protocol):
    """Some numbers that belong together, 0 at first."""

    def __getitem__(self, index: int, /) -> float: ...

    def __setitem__(self, index: int, value: float, /) -> None: ...


class Store(Protocol):
    """All numbers of a process."""

    @property
    def created(self) -> Mapping[Key, float]:
        """When each key was first added, in seconds since 1970, where that is told."""
        ...

    def add(self, key: Key, size: int, *, lives: bool) -> Cells:
        """New numbers, of which some may have the same key: they are added up when read.

        `lives`: they are forgotten when the process ends.
        """
        ...

    def read(self) -> Iterable[Numbers]:
        """The numbers of each process."""
        ...


class OwnMemory:
    """Implements `Store` for a process that serves alone."""

    def __init__(self) -> None:
        self.created: dict[Key, float] = {}
        self._kept: list[tuple[Key, list[float]]] = []

    def add(self, key: Key, size: int, *, lives: bool) -> list[float]:
        cells = [0.0] * size
        self.created.setdefault(key, time.time())
        self._kept.append((key, cells))
        return cells

    def read(self) -> Iterable[Numbers]:
        return (_added_up(tuple(self._kept)),)


class SharedFolder:
    """Implements `Store` for one of several processes, each of which has files of its own.

    A number is in the file as soon as it is written, so nothing is lost when a process is killed.
    Where the disk is full, what is counted first from then on is kept, but told to nobody.
    """

    def __init__(self, folder: Path) -> None:
        self.created: Mapping[Key, float] = {}
        self._folder = folder
        self._counts = _File(folder, "counts")
        self._gauges = _File(folder, "gauges")

    def add(self, key: Key, size: int, *, lives: bool) -> Cells:
        return (self._gauges if lives else self._counts).add(key, size)

    def read(self) -> Iterator[Numbers]:
        for path in sorted(self._folder.iterdir()):
            with suppress(FileNotFoundError):  # the gauges of one that has just ended
                yield _added_up(_entries(path.read_bytes()))


class _File:
    """Entries of a head (lengths of key and numbers), the key as JSON, padded, and the numbers.

    An entry begins where the last one ended, or where the next block begins. The head is written
    last: a reader finds it 0 or the entry whole.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        file, path = tempfile.mkstemp(prefix=f"{kind}_{os.getpid()}_", dir=folder)
        os.close(file)
        self._path = path
        self._length = 0
        self._room = memoryview(b"")  # of the newest block
        self._lock = threading.RLock()

    def add(self, key: Key, size: int) -> Cells:
        name = msgspec.json.encode(key)
        numbers = _HEAD.size + _padded(len(name))
        end = numbers + 8 * size
        with self._lock:
            if end > len(self._room):
                self._grow(-(-end // _BLOCK) * _BLOCK)
            entry, self._room = self._room[:end], self._room[end:]
            entry[_HEAD.size : _HEAD.size + len(name)] = name
            entry[: _HEAD.size] = _HEAD.pack(len(name), size)
        return entry[numbers:].cast("d")

    def _grow(self, length: int) -> None:
        """Writes the block: into a page that the disk has no room for, nobody writes and lives."""
        try:
            with open(self._path, "r+b") as file:
                file.seek(self._length)
                file.write(bytes(length))
                file.flush()
                self._room = memoryview(mmap.mmap(file.fileno(), length, offset=self._length))
        except OSError as error:
            _log.warning("some metrics are not told", reason=str(error))
            self._room = memoryview(bytearray(length))
        else:
            self._length += length


def _entries(data: bytes) -> Iterator[tuple[Key, list[float]]]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, size = _HEAD.unpack_from(data, at)
        if length == 0:
            at = (at // _BLOCK + 1) * _BLOCK
            continue
        begin = at + _HEAD.size
        numbers = begin + _padded(length)
        at = numbers + 8 * size
        yield (
            _KEY.decode(data[begin : begin + length]),
            list(memoryview(data)[numbers:at].cast("d")),
        )


def _added_up(entries: Iterable[tuple[Key, list[float]]]) -> Numbers:
    total: Numbers = {}
    for key, cells in entries:
        known = total.get(key)
        total[key] = (
            [*cells] if known is None else [a + b for a, b in zip(known, cells, strict=True)]
        )
    return total


def _padded(length: int) -> int:
    return (length + 7) // 8 * 8
