"""The data folder: everything that is kept lies in it, and one process at a time has it.

home/
  VERSION          format of the folder, one number
  installation     a random name, for what is shared with other installations
  lock             held (flock) by the process that works on the folder; names its pid
  server.json      how to reach that process, while it is a running server
  ragstone.toml    settings, where the user put some
  records.sqlite3  documents, jobs, keys
  index/           the search index
  ledger/          journals of what processes of this machine spend; each locks its own
  tmp/             emptied by whoever opens the folder
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from ragstone.domain.errors import HomeLocked, HomeNotWritable, HomeTooNew, StartupError

FORMAT: Final = 1
"""Raised when an older version could no longer read what this one writes."""

LEDGER_FOLDER: Final = "ledger"

_LOCK_ATTEMPTS: Final = 10
_LOCK_PAUSE_SECONDS: Final = 0.02
"""A command that looks whether the lock is held has it for microseconds itself."""

_LONGEST_FOLDER: Final = 80
"""Bytes; with a name in it, and that name's draft. Linux takes 107, other systems 103."""

_INSTALLATION: Final = re.compile("[0-9a-f]{16}")

_held_locks: set[int] = set()


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a command reaches the server that runs on a folder."""

    pid: int
    """The process to signal."""
    engine: int | None = None
    """The process that has the folder, where that is another one."""
    url: str | None = None
    """`http://127.0.0.1:8080`; None where only the socket is served."""
    socket: str | None = None
    """Path of a Unix socket."""
    token: str
    """Accepted from local commands as a bearer token; a secret."""

    @property
    def address(self) -> str:
        return self.url or (f"unix:{self.socket}" if self.socket else "an unknown address")


class Home:
    """An opened data folder: locked for this process until `close`. Made by `open_home`."""

    def __init__(self, path: Path, lock: int, installation: str) -> None:
        self.path = path
        self.installation = installation
        """Of this folder alone, and of its copies."""
        self._lock: int | None = lock
        self._owner = os.getpid()
        self._published = False

    @property
    def records(self) -> Path:
        """The SQLite file."""
        return self.path / "records.sqlite3"

    @property
    def index(self) -> Path:
        """A folder, there."""
        return self.path / "index"

    @property
    def tmp(self) -> Path:
        """A folder, there, and empty when the home was opened."""
        return self.path / "tmp"

    def publish_server(self, info: ServerInfo) -> None:
        """Let commands find this process. Raises `HomeNotWritable`."""
        with _writing(self.path):
            _write_atomically(self.path / "server.json", msgspec.json.encode(info))
        self._published = True

    def close(self) -> None:
        """Withdraw the server's address and free the folder. A second call does nothing.

        Nor does a call in a forked child: the folder is its parent's.
        """
        if self._lock is None or os.getpid() != self._owner:
            return
        try:
            if self._published:
                (self.path / "server.json").unlink(missing_ok=True)
        finally:
            _held_locks.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_home(path: Path) -> Home:
    """Open the folder for this process alone, making it if absent.

    Raises `HomeLocked` (another process has it), `HomeNotWritable`, `HomeTooNew`, and
    `StartupError` when its `VERSION` file is damaged.
    """
    path = path.absolute()
    with _writing(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(path)
    try:
        with _writing(path):
            (path / "server.json").unlink(missing_ok=True)
            _write_pid(lock)
            _check_format(path)
            for folder in ("index", "tmp"):
                (path / folder).mkdir(mode=0o700, exist_ok=True)
            _empty(path / "tmp")
            _probe(path / "tmp")
            installation = _installation(path / "installation")
    except BaseException:
        os.close(lock)
        raise
    _held_locks.add(lock)
    return Home(path, lock, installation)


def read_server(path: Path) -> ServerInfo | None:
    """The server that runs on the folder, if one does.

    What a killed server left behind is recognised by its lock, which died with it.
    """
    try:
        info = msgspec.json.decode((path / "server.json").read_bytes(), type=ServerInfo)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
    except OSError as error:
        raise HomeNotWritable(
            f"The data folder {path} cannot be read: {error.strerror}.",
            remedy="Run the command as the user who runs the server.",
        ) from error
    return info if _holder(path) == (info.engine or info.pid) else None


def _holder(path: Path) -> int | None:
    """The pid of the process that has the folder; None if none has it, 0 if it is not known."""
    try:
        probe = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.pread(probe, 32, 0).strip()
        return int(written) if written.isdigit() else 0
    else:
        return None
    finally:
        os.close(probe)


def _lock(path: Path) -> int:
    file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 == _LOCK_ATTEMPTS:
                    raise _locked_by_other(path) from None
                time.sleep(_LOCK_PAUSE_SECONDS)
            else:
                break
    except BaseException:
        os.close(file)
        raise
    return file


def _locked_by_other(path: Path) -> HomeLocked:
    server = read_server(path)
    if server is not None:
        return HomeLocked(
            f"The data folder {path} is in use by process {server.pid}, "
            f"a server at {server.address}.",
            remedy="Stop that server, or give --home another folder.",
        )
    return HomeLocked(
        f"The data folder {path} is in use by process {_holder(path) or 'unknown'}.",
        remedy="Wait until it has finished, or give --home another folder.",
    )


def _write_pid(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _check_format(path: Path) -> None:
    file = path / "VERSION"
    try:
        written = file.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        _write_atomically(file, f"{FORMAT}\n".encode())
        return
    if not (written.isascii() and written.isdigit()):
        raise StartupError(
            f"The file {file} does not hold a version number.",
            remedy=f"If this is a data folder of this version, write {FORMAT} into it.",
        )
    if int(written) > FORMAT:
        raise HomeTooNew(
            f"The data folder {path} has format {written}; "
            f"this version of Ragstone knows formats up to {FORMAT}.",
            remedy="Upgrade Ragstone, or give --home another folder.",
        )


def _installation(file: Path) -> str:
    """Another one from now on where there is none, or a damaged one: nothing is kept under it."""
    with contextlib.suppress(FileNotFoundError):
        found = file.read_text(encoding="utf-8", errors="replace").strip()
        if _INSTALLATION.fullmatch(found):
            return found
    made = secrets.token_hex(8)
    _write_atomically(file, f"{made}\n".encode())
    return made


def _probe(folder: Path) -> None:
    """A folder on a full or read-only disk shows it here, not during the first ingestion."""
    file = folder / "probe"
    file.write_bytes(b"writable")
    file.unlink()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_atomically(file: Path, content: bytes) -> None:
    """Readers see the old content or the new, also after a power cut. Mode 0600."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    out = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(out, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder of this user's alone, emptied and removed at the end, for sockets.

    Not in the data folder, nor in any deep one: a socket's path may be about 100 bytes.
    Raises `StartupError`.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="ragstone-", ignore_cleanup_errors=True)
        if len(os.fsencode(folder.name)) > _LONGEST_FOLDER:
            folder.cleanup()
            folder = tempfile.TemporaryDirectory(
                prefix="ragstone-", dir="/tmp", ignore_cleanup_errors=True
            )
    except OSError as error:
        raise StartupError(
            f"No folder for temporary files can be used: {error.strerror or error}.",
            remedy="Set TMPDIR to a folder with a short path that this user may write.",
        ) from error
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns the system's errors into `HomeNotWritable`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            reason, remedy = "it is not a folder", "Give --home a folder."
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason, remedy = "the disk is full", "Free some space on it."
        else:
            reason = (error.strerror or str(error)).lower()
            remedy = "Give --home a folder that this user may write."
        raise HomeNotWritable(
            f"The data folder {path} cannot be written: {reason}.", remedy=remedy
        ) from error


def _close_in_child() -> None:
    """A forked worker that outlives a killed server must not keep its lock alive."""
    for lock in _held_locks:
        with contextlib.suppress(OSError):
            os.close(lock)
    _held_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)
