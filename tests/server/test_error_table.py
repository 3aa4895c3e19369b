"""The table of error codes in docs/http-api.md is what the server answers."""

import re
from pathlib import Path

from ragstone.domain import errors
from ragstone.domain.errors import RagstoneError, StartupError
from ragstone.server.errors import error_response, status_of

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"


def _answered(cls: type[RagstoneError] = RagstoneError) -> set[tuple[int, str]]:
    """Status and code of every error that a request may meet: none of those end a start."""
    if cls.__module__ != errors.__name__ or issubclass(cls, StartupError):
        return set()
    met = {(status_of(cls("A sentence.")), cls.code)}
    return met.union(*map(_answered, cls.__subclasses__()))


def _documented() -> set[tuple[int, str]]:
    rows = re.findall(r"^\| ([45]\d\d(?:, [45]\d\d)*) \| (`.*) \|$", PAGE.read_text(), re.MULTILINE)
    found = set()
    for statuses, codes in rows:
        groups = codes.split(";") if "," in statuses else [codes]
        for status, group in zip(statuses.split(", "), groups, strict=True):
            found |= {(int(status), code) for code in re.findall(r"`(\w+)`", group)}
    return found


def test_every_code_is_in_the_table_at_its_status() -> None:
    assert _documented() == _answered()


def test_what_is_away_for_now_is_to_be_asked_again_in_a_second() -> None:
    away = error_response(errors.IndexUnavailable("The index is away."), "t")
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert "retry-after" not in error_response(errors.InvalidRequest("No."), "t").headers
