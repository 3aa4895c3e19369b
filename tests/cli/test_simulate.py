"""`ragstone simulate` as a person runs it."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def started(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, and the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragstone.cli", "simulate", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def fetched(url: str) -> dict:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


@pytest.mark.parametrize("kind", ["llm", "embeddings", "rerank"])
def test_the_first_line_is_the_address_and_sigterm_ends_it(kind: str) -> None:
    with started(kind, "--places", "3", "--error-rate", "0.5") as (process, url):
        behaviour = fetched(f"{url}/control")
        assert behaviour["places"] == 3
        assert behaviour["faults"][0]["share"] == 0.5
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_proxy_tells_both_of_its_addresses() -> None:
    with (
        started("llm", "--behaviour", '{"tokens": 3}') as (_, model),
        started("proxy", "--to", model.removeprefix("http://"), "--json") as (_, line),
    ):
        told = json.loads(line)
        assert fetched(f"http://{told['address']}/control")["tokens"] == 3
        assert fetched(f"{told['control']}/stats")["connections"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("proxy", "--to", "192.0.2.1:80"), "--i-own-this-target"),
        (("proxy", "--to", "127.0.0.1"), "names no port"),
        (("llm", "--behaviour", '{"tokns": 3}'), "Did you mean 'tokens'?"),
        (("llm", "--behaviour", "absent.json"), "cannot be read"),
    ],
)
def test_what_cannot_be_is_a_sentence(run, arguments, sentence) -> None:
    ended = run("simulate", *arguments)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_a_sentence(run) -> None:
    with started("llm") as (_, url):
        ended = run("simulate", "rerank", "--port", url.rpartition(":")[2])
    assert ended.returncode == 1
    assert "[port_in_use]" in ended.stderr
