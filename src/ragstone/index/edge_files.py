"""The files of one shard, written so that a crash at any moment leaves a usable state.

SHARD/manifest.json     what the shard is, and the metadata fields it has seen
SHARD/CURRENT           the name of the engine directory in use; absent: no shard
SHARD/engine-ID/        engine directories; all but the current one are leftovers
SHARD/flip.json         only while a large document changes over
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from ragstone.domain.errors import IndexUnavailable
from ragstone.index.filters import Kind

FORMAT: Final = 1

_MANIFEST: Final = "manifest.json"
_CURRENT: Final = "CURRENT"
_FLIP: Final = "flip.json"
_ENGINE_PREFIX: Final = "engine-"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard is."""

    format: int = FORMAT
    tenant: str
    collection: str
    dimensions: int
    average_length: float
    """Terms in a chunk, for BM25; fixed when the shard is made, so that weights compare."""
    fields: dict[str, list[Kind]] = {}


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """A change-over in progress: `show` becomes visible and `hide` goes."""

    show: list[tuple[list[str], list[str]]]
    """Access list, point ids."""
    hide: list[str]


def shard_directory(root: Path, tenant: str, collection: str) -> Path:
    """A fixed-length name from both names, so that no name can reach outside of `root`."""
    key = msgspec.msgpack.encode((tenant, collection))
    return root / hashlib.sha256(key).hexdigest()[:40]


class ShardFiles:
    """Reads and writes the files around the engine; every write is durable on return."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return (self.path / _CURRENT).exists()

    def engine_path(self) -> Path:
        """Raises `IndexUnavailable` for a damaged pointer."""
        try:
            name = (self.path / _CURRENT).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(self.path, error) from error
        if not name.startswith(_ENGINE_PREFIX) or not (self.path / name).is_dir():
            raise _damaged(self.path, f"its {_CURRENT} file names no engine directory")
        return self.path / name

    def new_engine_path(self) -> Path:
        """A path for another engine directory, never used before."""
        return self.path / f"{_ENGINE_PREFIX}{uuid4().hex[:12]}"

    def use(self, engine_path: Path) -> None:
        """Make this the current engine directory, at once and for good."""
        write_durably(self.path / _CURRENT, engine_path.name.encode())

    def remove_leftovers(self) -> None:
        """Engine directories that a crash left behind."""
        current = self.engine_path()
        for path in self.path.glob(f"{_ENGINE_PREFIX}*"):
            if path != current:
                shutil.rmtree(path, ignore_errors=True)

    def read_manifest(self) -> Manifest:
        """Raises `IndexUnavailable` when it cannot be read or is from a later version."""
        try:
            manifest = msgspec.json.decode((self.path / _MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise _damaged(self.path, error) from error
        if manifest.format > FORMAT:
            raise IndexUnavailable(
                f"The index in {self.path} was written by a later version of Ragstone.",
                remedy="Upgrade Ragstone, or remove that folder and ingest the documents again.",
            )
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        write_durably(self.path / _MANIFEST, msgspec.json.encode(manifest))

    def read_flip(self) -> Flip | None:
        try:
            return msgspec.json.decode((self.path / _FLIP).read_bytes(), type=Flip)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise _damaged(self.path, error) from error

    def write_flip(self, flip: Flip) -> None:
        write_durably(self.path / _FLIP, msgspec.json.encode(flip))

    def forget_flip(self) -> None:
        (self.path / _FLIP).unlink(missing_ok=True)
        sync([self.path])


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync([path.parent])


def sync(paths: Iterable[Path]) -> None:
    """Bring files or directories to disk; a file that has gone meanwhile is skipped."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Bring a whole directory to disk."""
    for directory, _, names in os.walk(path):
        sync([Path(directory, name) for name in names])
        sync([Path(directory)])


def _damaged(path: Path, why: object) -> IndexUnavailable:
    return IndexUnavailable(
        f"The index in {path} is damaged: {why}.",
        remedy="Restore that folder from a backup, or remove it and ingest the documents again.",
    )
