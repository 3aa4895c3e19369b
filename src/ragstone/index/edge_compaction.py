"""Optimising a shard while it serves: in another process, on a copy.

The engine's optimiser holds the interpreter lock from its first to its last second, and it
may not share its directory. So a copy of the directory is taken (writers wait, searches do
not), a child process builds graph and quantised vectors in it, and documents that changed
meanwhile are carried over before the copy takes the original's place. Until the moment of
the swap the original is complete and current: a crash, or a child that fails, loses nothing.

Run as a program, this module is that child: `python -m ragstone.index.edge_compaction
DIRECTORY JSON`, where JSON maps payload keys to be indexed to their kinds.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec

from ragstone.domain.errors import IndexUnavailable
from ragstone.index.edge_engine import MAX_POINTS_PER_CALL, EdgeEngine
from ragstone.index.edge_files import sync, sync_tree
from ragstone.index.edge_shard import EdgeShard
from ragstone.index.filters import Kind

_DOCUMENTS_PER_STEP: Final = 16
_NICENESS: Final = 5


async def compact(shard: EdgeShard) -> None:
    """Swap the shard's engine for an optimised copy of itself.

    Searches go on throughout, with one pause for opening the copy and one for closing the
    original (docs/decisions/0001-index-layout.md has their lengths); writers wait while the
    copy is taken and while changes are carried over.
    Raises `IndexUnavailable` when the child fails; the shard then goes on as it was.
    """
    copy = shard.files.new_engine_path()
    try:
        async with shard.write_lock:
            shard.touched = set()
            await asyncio.to_thread(shutil.copytree, shard.engine.path, copy)
        await _optimize_in_child(copy, shard.keys_to_index())
        optimized = EdgeEngine.open(copy)
        async with shard.write_lock:
            await _carry_over(shard, optimized)
            await asyncio.to_thread(sync, optimized.log_files())
            # Not in a thread: a cancellation must not fall between these two lines.
            shard.files.use(copy)
            original, shard.engine = shard.engine, optimized
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
        raise
    finally:
        shard.touched = None
    await _discard(original)


async def _optimize_in_child(path: Path, fields: dict[str, Kind]) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        str(path),
        msgspec.json.encode(fields).decode(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await child.communicate()
    except BaseException:
        if child.returncode is None:
            child.kill()
            await child.wait()
        raise
    if child.returncode != 0:
        last = stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise IndexUnavailable(
            f"Optimising the index in {path.parent} failed: {last[0]}.",
            remedy="Searches go on with the index as it was; see that there is free disk space.",
        )


async def _carry_over(shard: EdgeShard, optimized: EdgeEngine) -> None:
    """Bring to the copy what changed in the original since it was taken."""
    changed = sorted(shard.touched or ())
    for start in range(0, len(changed), _DOCUMENTS_PER_STEP):
        documents = changed[start : start + _DOCUMENTS_PER_STEP]
        optimized.delete_documents(documents)
        ids = [id_ for id_, _ in shard.engine.ids(documents)]
        for first in range(0, len(ids), MAX_POINTS_PER_CALL):
            optimized.copy_from(shard.engine, ids[first : first + MAX_POINTS_PER_CALL])
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def _discard(original: EdgeEngine) -> None:
    # Closing writes everything out under the interpreter lock: with the pages already on
    # disk it takes a fraction of the time.
    await asyncio.to_thread(sync_tree, original.path)
    original.close()
    await asyncio.to_thread(shutil.rmtree, original.path, ignore_errors=True)


def _main(path: Path, fields: dict[str, Kind]) -> None:
    os.nice(_NICENESS)
    engine = EdgeEngine.open(path)
    indexed = engine.indexed_fields()
    for key, kind in fields.items():
        if key not in indexed:
            engine.index_field(key, kind)
    engine.optimize()
    engine.close()
    sync_tree(path)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=dict[str, Kind]))
