"""Which files a command sends, and under which names."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragstone.domain.errors import InvalidRequest, Unreadable


@dataclass(slots=True)
class Selection:
    """The files that were found, and what could not be looked at."""

    files: list[tuple[str, Path]] = field(default_factory=list)
    """Name and path of each."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """`external_id`, `code` and `message` of each file or folder that cannot be read or sent."""


def select_files(paths: list[Path]) -> Selection:
    """The files in `paths`, folders searched through; hidden ones are left out.

    A name is relative to the given folder, so that the same folder gives the same documents
    wherever it lies. Of several paths, a folder's own name comes first. Raises
    `InvalidRequest` for a path that is not there, when nothing was found, and when two files
    would have the same name.
    """
    selection = Selection()
    for path in paths:
        if not os.path.lexists(path):
            raise InvalidRequest(
                f"There is no file or folder {printable(path)}.", remedy="Check the path."
            )
        if path.is_dir():
            prefix = f"{path.resolve().name}/" if len(paths) > 1 else ""
            found = [(prefix + name, file) for name, file in _walk(path, selection)]
        else:
            found = [(path.name, path)]
        for name, file in found:
            _add(selection, name, file)
    if not selection.files and not selection.refused:
        raise InvalidRequest(
            f"There are no files in {', '.join(map(printable, paths))}.",
            remedy="Give a folder with documents; hidden files are left out.",
        )
    _require_distinct(selection.files)
    return selection


def refusal(name: str, reason: str) -> dict[str, Any]:
    """What is reported of a file that was not sent."""
    return {"external_id": printable(name), "code": Unreadable.code, "message": reason}


def unreadable(name: str, error: OSError) -> dict[str, Any]:
    """What is reported of a file that the system did not let us read."""
    reason = (error.strerror or str(error)).lower()
    return refusal(name, f"The file cannot be read: {reason}.")


def printable(name: object) -> str:
    """`name` with what is not text, or would break a line, escaped."""
    text = os.fsencode(str(name)).decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _walk(folder: Path, selection: Selection) -> Iterator[tuple[str, Path]]:
    def note(error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        name = str(error.filename or folder)
        selection.refused.append(refusal(name, f"The folder cannot be read: {reason}."))

    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    for file in sorted(found):
        yield file.relative_to(folder).as_posix(), file


def _add(selection: Selection, name: str, file: Path) -> None:
    try:
        is_file = stat.S_ISREG(file.stat().st_mode)
    except OSError as error:
        selection.refused.append(unreadable(name, error))
        return
    if reason := _unfit(name):
        selection.refused.append(refusal(name, reason))
    elif is_file:
        selection.files.append((name, file))


def _unfit(name: str) -> str | None:
    """Why a name would not reach the server as it is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "The file name is not UTF-8. Rename the file."
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "The file name holds a control character such as a line break. Rename the file."
    if name.startswith("\\\\") or name[1:3] == ":\\":
        return "The file name begins like a path of Windows. Rename the file."
    return None


def _require_distinct(files: list[tuple[str, Path]]) -> None:
    """A file that was given twice is sent once; two files of one name would replace each other."""
    first: dict[str, Path] = {}
    for name, file in list(files):
        other = first.setdefault(name, file)
        if other is file:
            continue
        if other.resolve() != file.resolve():
            raise InvalidRequest(
                f"{printable(other)} and {printable(file)} would both be the document "
                f"{printable(name)}.",
                remedy="Ingest the folder that holds both, or one of them after renaming.",
            )
        files.remove((name, file))
