"""A real `ragstone serve` with a simulated model, for the benchmarks of load."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from ragstone.lab.load.questions import Question, sample_questions

RAGSTONE: Final = (sys.executable, "-m", "ragstone.cli")
_STOP_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """The addresses and processes of one run."""

    url: str
    model_url: str
    server: psutil.Process

    def behave(self, **behaviour: Any) -> None:
        """Change how the model behaves from now on."""
        request = urllib.request.Request(
            f"{self.model_url}/control", json.dumps(behaviour).encode(), method="PUT"
        )
        urllib.request.urlopen(request, timeout=5).close()

    def metric(self, name: str) -> float:
        """The sum over a metric's labels."""
        text = urllib.request.urlopen(f"{self.url}/metrics", timeout=5).read().decode()
        lines = (line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def processes(self) -> list[psutil.Process]:
        return [self.server, *self.server.children(recursive=True)]

    def resident_bytes(self) -> int:
        """Unshared, of all processes."""
        return sum(process.memory_full_info().uss for process in self.processes())

    def written_bytes(self) -> int:
        """Unshared and written to, of all processes: pages of a library that another process of
        the machine begins or ceases to use come and go in `resident_bytes`, tens of MB of them."""
        return sum(
            mapped.private_dirty for process in self.processes() for mapped in process.memory_maps()
        )

    def cpu_seconds(self) -> float:
        """Of all processes since they began."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes())

    def sockets(self) -> int:
        return sum(len(process.net_connections()) for process in self.processes())


def different_questions(count: int) -> tuple[Question, ...]:
    """Equal ones that are asked at the same time would share a generation."""
    texts = [one.question for one in sample_questions()]
    return tuple(
        Question(question=f"{texts[number % len(texts)]} Case {number}.") for number in range(count)
    )


def make_home(home: Path) -> None:
    """A data folder with the sample corpus's help documents in its default collection."""
    from ragstone.sample import write_corpus

    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder))
        command = [*RAGSTONE, "--home", str(home), "ingest", str(Path(folder, "help"))]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def site(
    home: Path,
    *,
    behaviour: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    arguments: tuple[str, ...] = (),
) -> Iterator[Site]:
    """`settings` are `{"GROUP__NAME": value}`. No cache helps."""
    if not home.exists():
        make_home(home)
    with ExitStack() as stack:
        simulate = [*RAGSTONE, "--json", "simulate", "llm", "--behaviour", json.dumps(behaviour)]
        model_url = stack.enter_context(_started(simulate, {}))[0]
        chosen = {
            "LLM__BASE_URL": f"{model_url}/v1",
            "LLM__MODEL": "simulated",
            "CACHE__ENABLED": "false",
            "LOG__LEVEL": "error",
            **(settings or {}),
        }
        environment = {f"RAGSTONE_{name}": str(value) for name, value in chosen.items()}
        serve = [*RAGSTONE, "--json", "--home", str(home), "serve", "--port", "0", *arguments]
        url, process = stack.enter_context(_started(serve, environment))
        _until_ready(url)
        yield Site(url, model_url, psutil.Process(process.pid))


@contextmanager
def _started(
    command: list[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        yield said["url"], process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_ready(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{url} is not ready")
