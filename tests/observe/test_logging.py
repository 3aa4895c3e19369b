"""The line of a request that is written at once is the one that structlog would write."""

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
import structlog

from ragstone.observe.logging import configure_logging, say

_FIELDS: Final[dict[str, object]] = {
    "trace_id": "0af7",
    "status": 200,
    "followed": None,
    "ms": 0.25,
    "stages": {"recall": 0.1},
    "degraded": ["rerank"],
    "reason": 'Zoë asked: "why?"\n',
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    configure_logging("warning", "text")


def _logger() -> Any:
    return structlog.get_logger("ragstone.test")


@pytest.mark.parametrize("reason", ["plain", "a lone \udc80 surrogate"])
async def test_the_line_is_the_one_of_the_general_way(
    capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    configure_logging("info", "json")
    fields = {**_FIELDS, "reason": reason}
    _logger().info("request", **fields)
    say(_logger(), "request", fields)
    await asyncio.sleep(0)
    usual, at_once = (
        re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "NOW", line)
        for line in capsys.readouterr().err.splitlines()
    )
    assert at_once == usual
    assert json.loads(usual)["timestamp"] == "NOW"


async def test_lines_of_one_turn_are_written_whole_and_in_order_and_fields_are_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")
    fields = dict(_FIELDS)
    for number in range(40):  # more than a pipe takes at once
        say(_logger(), f"request {number}", fields)
    await asyncio.sleep(0)
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said == [f"request {number}" for number in range(40)]
    assert fields == _FIELDS


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_higher_level_writes_nothing(capsys: pytest.CaptureFixture[str], style: Any) -> None:
    configure_logging("warning", style)
    say(_logger(), "request", dict(_FIELDS))
    assert capsys.readouterr().err == ""


def test_text_is_written_the_general_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    say(_logger(), "request", dict(_FIELDS))
    assert "trace_id" in capsys.readouterr().err


class _Gone(io.StringIO):
    """A pipe whose reader has gone, or a file on a full disk."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def _closed() -> io.StringIO:
    closed = io.StringIO()
    closed.close()
    return closed


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("file", [_Gone, _closed])
async def test_a_log_that_cannot_be_written_fails_nobody(
    file: Any, style: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    monkeypatch.setattr(sys, "stderr", file())
    configure_logging("info", style)
    say(_logger(), "request", dict(_FIELDS))
    _logger().info("request", **_FIELDS)
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        _logger().exception("unexpected")
    monkeypatch.setattr(logging.Handler, "handleError", lambda _, record: faults.append(record))
    logging.getLogger("ragstone.test").warning("of the standard library")
    await asyncio.sleep(0)
    assert faults == []
