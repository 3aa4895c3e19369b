"""One table of buckets for all processes of a machine, in a file that they map.

They take turns by `flock`, which the kernel undoes when its holder is killed; taking and leaving
a turn costs 1 us together, record locks (`lockf`) one and a half. Only one that does not wait is
asked for: a process that was stopped in the middle of its microseconds must not stop the others.
After some tens of milliseconds they go on without the table, each with its part of the limits in
its own memory, and look again in a second.

Times in the table are of CLOCK_MONOTONIC, which the processes of one machine have in common; the
folder that holds the file goes with the server, and so does not outlive a reboot. The file's head
says what it is, with a checksum; a process that finds it damaged makes the table anew.
"""

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import time
from pathlib import Path
from typing import Final

from ragstone.governance.quotas.bucket_table import SLOT, BucketTable
from ragstone.ports import Clock

SLOTS: Final = 1 << 16
"""2 MB. A key and its tenant need four."""
_HEAD: Final = struct.Struct("<8sQ16s32s")
"""Name and version, number of slots, the hash's key, SHA-256 of name and key."""
_KEY: Final = slice(16, 32)
_MAGIC: Final = b"rgsquot1"
_SIZE: Final = _HEAD.size + SLOTS * SLOT * 8
_PIECE: Final = 1 << 16
_PAUSE_SECONDS: Final = 1.0
_EAGER: Final = 50
"""Tries between which only the processor is offered."""
_PATIENT: Final = 40
"""Tries after them, `_NAP_SECONDS` apart."""
_NAP_SECONDS: Final = 0.0005


class TableUnavailable(Exception):
    """Another process keeps the table, or it cannot be reached."""


class SharedBuckets:
    """The file as one process uses it. All must read the same monotonic clock.

    Not for two threads, nor for use after a fork: they would have one turn between them.
    """

    def __init__(self, path: Path, *, processes: int, clock: Clock) -> None:
        """`processes` share the limits. Raises `OSError` when the file cannot be used."""
        self.processes = processes
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT, 0o600)
        self._away_until = float("-inf")
        try:
            self._head = _known_head(self._file) or b""
            if not self._head:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                self._head = _head_of(self._file)
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._map = mmap.mmap(self._file, _SIZE)
        except BaseException:
            os.close(self._file)
            raise
        self._cells = memoryview(self._map)[_HEAD.size :].cast("q")
        self._table = BucketTable(self._cells)

    @staticmethod
    def create(path: Path) -> None:
        """An empty table in place of what was there. Before any process opens it."""
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _head_of(file)
        finally:
            os.close(file)

    def close(self) -> None:
        self._table = BucketTable(memoryview(bytearray(SLOT * 8)).cast("q"))
        self._cells.release()
        self._map.close()
        os.close(self._file)

    @property
    def key(self) -> bytes:
        """For the hashes of buckets; another one once the table was made anew."""
        return self._head[_KEY]

    def peek(self) -> BucketTable:
        """To look only: numbers that are read meanwhile may be of different moments."""
        return self._table

    def begin(self) -> BucketTable:
        """A turn at the table, until `end`. Raises `TableUnavailable`."""
        now = self._clock.monotonic()
        if now < self._away_until:
            raise TableUnavailable
        for number in range(_EAGER + _PATIENT):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if number < _EAGER:
                    os.sched_yield()
                else:
                    time.sleep(_NAP_SECONDS)
            except OSError as error:
                self._away_until = now + _PAUSE_SECONDS
                raise TableUnavailable from error
            else:
                if self._map[: _HEAD.size] == self._head:
                    return self._table
                self._make_whole()
                raise TableUnavailable  # the caller's hashes are of another key
        self._away_until = now + _PAUSE_SECONDS
        raise TableUnavailable

    def end(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _make_whole(self) -> None:
        """The turn is ours, and the table is not the one that we know."""
        try:
            self._head = _head_of(self._file)
        except OSError as error:
            raise TableUnavailable from error
        finally:
            self.end()


def _known_head(file: int) -> bytes | None:
    """The head of the table in the file; None if that is none."""
    head = os.pread(file, _HEAD.size, 0)
    whole = len(head) == _HEAD.size and os.fstat(file).st_size == _SIZE
    return head if whole and head == _head(head[_KEY]) else None


def _head_of(file: int) -> bytes:
    """The head of the table in the file, which is made anew if that is none; ours to write."""
    if (head := _known_head(file)) is not None:
        return head
    # Never shorter than it is, and all of it on the disk: who has it mapped is ended by a page that
    # is not there, or that a full disk has no room for.
    at, end = 0, max(_SIZE, os.fstat(file).st_size)
    while at < end:
        at += os.pwrite(file, bytes(min(_PIECE, end - at)), at)
    os.ftruncate(file, _SIZE)
    head = _head(secrets.token_bytes(16))
    os.pwrite(file, head, 0)
    return head


def _head(key: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, SLOTS, key, hashlib.sha256(_MAGIC + key).digest())
