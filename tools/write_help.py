"""Writes the golden file of the commands' help."""

import os
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from ragstone.cli.main import app

COMMANDS = ("", *sorted(get_command(app).commands))  # type: ignore[attr-defined]

if __name__ == "__main__":
    shown = [
        subprocess.run(
            [sys.executable, "-m", "ragstone.cli", *filter(None, [command]), "--help"],
            env={**os.environ, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in COMMANDS
    ]
    target = Path(__file__).parents[1] / "tests" / "cli" / "golden" / "help.txt"
    target.write_text("\n".join(shown), encoding="utf-8")
