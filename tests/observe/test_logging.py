"""The line of a request that is written at once is the one that structlog would write."""

import asyncio
import json
import re
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
