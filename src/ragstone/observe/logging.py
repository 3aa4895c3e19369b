"""Structured logs: one line a request, and never the text of a question, passage or answer."""

import logging
import sys
from typing import Literal

import structlog


def configure_logging(
    level: Literal["debug", "info", "warning", "error"], style: Literal["auto", "json", "text"]
) -> None:
    """Logs go to standard error, so that a command's output stays clean."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
