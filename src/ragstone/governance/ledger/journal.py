"""The file in which a process notes what it reserved and settled, so that its death loses nothing.

One small record, with a checksum, is appended for each event by one `write`: what was written is
in the system's page cache and survives a `kill -9` at any instruction; at most the last record
is torn. That is rare, and is taken for damage, since a damaged length looks alike. The file is
locked (flock) by its process, so whoever gets the lock knows that the process has ended. After
the machine itself went down the end of the file may be missing, which nothing in the file shows:
so it names the machine's boot.
"""

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ragstone.domain.budget import Account, Amount, Spender, UsageRow

SUFFIX: Final = ".journal"
FORMAT: Final = 2
_HEAD: Final = struct.Struct("<II")
"""Length and CRC-32 of what follows."""

_log = structlog.get_logger("ragstone.ledger")
_open_files: set[int] = set()


class Begun(msgspec.Struct, tag="h", array_like=True, frozen=True):
    """The first record."""

    format: int
    holder: str
    boot: str
    inode: int
    """Of the file itself: a copy, as of a data folder whose server runs, speaks for nobody."""


class Named(msgspec.Struct, tag="a", array_like=True, frozen=True):
    """From now on `number` stands for this account."""

    number: int
    account: Account
    tokens: bool


class Reserved(msgspec.Struct, tag="r", array_like=True, frozen=True):
    number: int
    at: int
    """Unix seconds."""
    spender: Spender
    upper: Amount
    slices: list[int]


class Joined(msgspec.Struct, tag="j", array_like=True, frozen=True):
    number: int
    spender: Spender
    slices: list[int]
    """Those in which the same is held from now on."""


class Settled(msgspec.Struct, tag="s", array_like=True, frozen=True):
    number: int
    charges: list[tuple[int, int]]
    """Slices and amounts."""
    rows: Sequence[UsageRow]


class Used(msgspec.Struct, tag="u", array_like=True, frozen=True):
    """Without a reservation."""

    rows: Sequence[UsageRow]


class Reporting(msgspec.Struct, tag="b", array_like=True, frozen=True):
    """What came before, and is in no earlier report, is told under `sequence`."""

    sequence: int
    accounts: list[tuple[int, int, int]]
    """Slices, what was settled, and what was returned."""


class Reported(msgspec.Struct, tag="k", array_like=True, frozen=True):
    """It has arrived."""

    sequence: int


Record = Begun | Named | Reserved | Joined | Settled | Used | Reporting | Reported

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[Record]] = msgspec.msgpack.Decoder(Record)


class Damaged(Exception):
    """A record is torn, or not as it was written: what follows it cannot be told."""


class Journal:
    """One process's, for one name of a holder. Made by `begin_journal`."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file: int | None = file
        self.bytes = 0
        _open_files.add(file)

    @property
    def works(self) -> bool:
        """False once it could not be written: then it is gone, since one with gaps would say that
        money was not spent. Without it a crash charges all that was leased."""
        return self._file is not None

    def write(self, record: Record) -> None:
        """Appends it; never raises."""
        if self._file is None:
            return
        content = _ENCODER.encode(record)
        framed = _HEAD.pack(len(content), zlib.crc32(content)) + content
        try:
            written = os.write(self._file, framed)
        except OSError as error:
            self._give_up(error.strerror)
            return
        self.bytes += written
        if written < len(framed):
            self._give_up("the disk is full")

    def move(self, path: Path) -> None:
        """Raises `OSError`."""
        self._path.rename(path)
        self._path = path

    def close(self) -> None:
        """Leaves the file for others to recover."""
        if self._file is not None:
            _open_files.discard(self._file)
            os.close(self._file)
            self._file = None

    def remove(self) -> None:
        """All that it says was reported."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        self.close()

    def _give_up(self, reason: str | None) -> None:
        _log.error("journal of the ledger cannot be written", path=str(self._path), reason=reason)
        if self._file is not None:
            with contextlib.suppress(OSError):  # should the file not go, it shall say nothing
                os.ftruncate(self._file, 0)
        self.remove()


def begin_journal(folder: Path, holder: str) -> Journal | None:
    """A new one in `folder`, made if absent; None, and a line in the log, if it cannot be made.

    It appears under its name only once it is locked.
    """
    path = folder / f"{holder}{SUFFIX}"
    draft = folder / f".{holder}"
    file = -1
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        file = os.open(draft, flags, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        journal = Journal(draft, file)
    except OSError as error:
        if file >= 0:
            os.close(file)
        _not_begun(draft, error.strerror)
        return None
    journal.write(Begun(FORMAT, holder, boot_id(), os.fstat(file).st_ino))
    if not journal.works:
        return None
    try:
        journal.move(path)
    except OSError as error:
        journal.close()
        _not_begun(draft, error.strerror)
        return None
    return journal


def _not_begun(draft: Path, reason: str | None) -> None:
    _log.error("the ledger has no journal", folder=str(draft.parent), reason=reason)
    with contextlib.suppress(OSError):
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def dead_journal(path: Path) -> Iterator[bytes | None]:
    """What the journal of a process that has ended says, locked until the context ends; None
    while its process lives, or another one recovers it or has done so."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    _open_files.add(file)
    try:
        yield _content(file, path)
    finally:
        _open_files.discard(file)
        os.close(file)


def read_records(content: bytes) -> Iterator[Record]:
    """To the end, or to the first that is `Damaged`, which raises that."""
    at = 0
    while at < len(content):
        body_at = at + _HEAD.size
        if body_at > len(content):
            raise Damaged
        length, checksum = _HEAD.unpack_from(content, at)
        at = body_at + length
        body = content[body_at:at]
        if len(body) < length or zlib.crc32(body) != checksum:
            raise Damaged
        try:
            yield _DECODER.decode(body)
        except msgspec.MsgspecError as error:
            raise Damaged from error


def boot_id() -> str:
    """Names the time since the machine went up; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _content(file: int, path: Path) -> bytes | None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_ino != os.stat(path).st_ino:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _close_in_child() -> None:
    """A forked child that outlives its parent must not keep its journals locked."""
    for file in _open_files:
        with contextlib.suppress(OSError):
            os.close(file)
    _open_files.clear()


os.register_at_fork(after_in_child=_close_in_child)
