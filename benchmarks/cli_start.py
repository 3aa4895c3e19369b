"""How long the command line takes to start.

Each command runs many times in a new process, in turn with `python -c pass`, which nothing in
Python can beat; wall time and CPU time, medians. `search` runs on a folder that no server has,
so it starts and stops the whole system in its own process. Byte code is compiled before, as it
is after an installation.

    flock /tmp/bench.lock python benchmarks/cli_start.py [--home /tmp/ragstone-bench] [--runs 15]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

RAGSTONE: Final = [sys.executable, "-m", "ragstone.cli"]


class Run(NamedTuple):
    """One process, in milliseconds."""

    wall: float
    cpu: float


def run(command: list[str], bytecode: str) -> Run:
    env = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall * 1000, cpu * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the command line takes to start")
    parser.add_argument("--home", type=Path, help="a folder with documents: times `search` too")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "ragstone --help": [*RAGSTONE, "--help"],
        "ragstone search --help": [*RAGSTONE, "search", "--help"],
    }
    if arguments.home:
        home = ["--home", str(arguments.home)]
        commands["ragstone search"] = [*RAGSTONE, *home, "search", "a summer dress"]
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as bytecode:
        for command in commands.values():
            run(command, bytecode)
        for _ in range(arguments.runs):
            for name, command in commands.items():
                runs[name].append(run(command, bytecode))
    least = statistics.median(one.wall for one in runs["python -c pass"])
    for name, many in runs.items():
        wall = [one.wall for one in many]
        cpu = statistics.median(one.cpu for one in many)
        print(
            f"{name:24} {statistics.median(wall):7.0f} ms (best {min(wall):.0f}), "
            f"CPU {cpu:.0f} ms, {statistics.median(wall) / least:.1f} times `python -c pass`"
        )


if __name__ == "__main__":
    main()
