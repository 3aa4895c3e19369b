"""Structured logs: one line a request, and never the text of a question, passage or answer."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final, Literal, TextIO, cast

import msgspec
import structlog

_PIPE_BYTES: Final = 4096
"""PIPE_BUF of Linux. JSON lines are ASCII but for what a reason may quote."""


class _Unfailing:
    """A file that loses what it cannot write, as when the reader of a pipe has gone or the disk is
    full: no request fails for its line in the log."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # of a closed file
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


class _Lines:
    """Lines of requests, written together in the loop's next turn: one system call for many that
    end at about the same time, and none between two requests."""

    def __init__(self, file: _Unfailing) -> None:
        self._file = file
        self._waiting: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, line: str) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting or self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._write)
        self._waiting.append(line + "\n")

    def _write(self) -> None:
        """In pieces that a pipe takes whole: other processes may write into the same."""
        lines, self._waiting = self._waiting, []
        piece = ""
        for line in lines:
            if piece and len(piece) + len(line) > _PIPE_BYTES:
                self._put(piece)
                piece = ""
            piece += line
        self._put(piece)

    def _put(self, piece: str) -> None:
        self._file.write(piece)
        self._file.flush()


_json_lines: _Lines | None = None
"""Where lines of level `info` go as JSON, if they go anywhere."""


def configure_logging(
    level: Literal["debug", "info", "warning", "error"], style: Literal["auto", "json", "text"]
) -> None:
    """Logs go to standard error, so that a command's output stays clean.

    Records of the standard library (ours and libraries') come out in the same form.
    """
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer(serializer=_encoded)
    )
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        _stamped,
        structlog.processors.format_exc_info,
    ]
    threshold = getattr(logging, level.upper())
    file = _Unfailing(sys.stderr)
    global _json_lines  # noqa: PLW0603 - of the process, as the rest of the configuration
    _json_lines = None if text or threshold > logging.INFO else _Lines(file)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, file)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("ragstone").setLevel(threshold)


def say(
    logger: structlog.types.FilteringBoundLogger, event: str, fields: dict[str, object]
) -> None:
    """As `logger.info(event, **fields)`, of a logger without a context, from a running loop; JSON
    costs a third."""
    if _json_lines is None:
        logger.info(event, **fields)
        return
    line = {**fields, "event": event, "level": "info"}
    _json_lines.add(_encoded(_stamped(None, "info", line), repr))


def _stamped(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """With the time of day, as structlog's own stamper has it; here in a third of the time."""
    now = time.time_ns() // 1000
    event["timestamp"] = f"{_second(now // 1_000_000)}.{now % 1_000_000:06d}Z"
    return event


@lru_cache(maxsize=1)
def _second(since_1970: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_1970))


def _encoded(record: object, default: Callable[[object], object]) -> str:
    """One line of JSON; `default` is what structlog makes of a value that JSON has not."""
    try:
        return msgspec.json.encode(record, enc_hook=default).decode()
    except UnicodeEncodeError:  # a lone surrogate, as in an undecodable file name
        return json.dumps(record, default=default)
