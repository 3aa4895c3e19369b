"""The folder in which the processes of one server keep their metrics; light to import."""

from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names it, as prometheus_client wants."""


def forget_process(folder: Path, pid: int) -> None:
    """What was true of a process while it lived is so no more; what it counted stays.

    As `prometheus_client.multiprocess.mark_process_dead` does.
    """
    for file in folder.glob(f"gauge_live*_{pid}.db"):
        with suppress(OSError):
            file.unlink()
