"""Writes the golden file of the commands' help."""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = ("", "ask", "budgets", "chaos", "collections", "demo", "documents", "eval", "ingest",
            "init", "jobs", "keys", "load", "search", "serve", "simulate", "usage")  # fmt: skip

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
