"""The folder in which the processes of one server keep their metrics; light to import."""

from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "RAGSTONE_METRICS_FOLDER"
"""The environment variable by which a supervisor tells its processes."""


def forget_process(folder: Path, pid: int) -> None:
    """What was true of a process while it lived is so no more; what it counted stays."""
    for file in folder.glob(f"gauges_{pid}_*"):
        with suppress(OSError):
            file.unlink()
