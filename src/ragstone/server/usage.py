"""What was used, by whom and of what, over HTTP with the scope `admin`."""

import asyncio
import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from starlette.responses import Response

from ragstone.domain.budget import UsageBy, UsagePlace, UsageTotal
from ragstone.domain.errors import InvalidRequest, did_you_mean
from ragstone.domain.usage import Usage, dollars_text
from ragstone.server.call import Call
from ragstone.server.pages import place_of, word_for
from ragstone.server.parameters import page_size
from ragstone.server.tenants import tenants_in_view

BY: Final[dict[str, UsageBy]] = {
    "tenant": "tenant",
    "application": "application",
    "app": "application",
    "model": "model",
    "key": "key",
    "user": "user",
    "day": "day",
    "hour": "hour",
}
"""By the words for them."""
_SINCE: Final = "7d"
_AGO: Final = re.compile(r"(\d{1,6})([hdw])")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_UnixSeconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_800)]
"""To the year 9999."""
_SECONDS: Final = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """Of whole hours."""

    questions: int
    cached: int
    """Of these, answered from a cache or from another's generation."""
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    """Part of `input_tokens`, served from the provider's prompt cache."""
    written_input_tokens: int
    """Part of `input_tokens`, written to that cache."""
    embedding_tokens: int
    rerank_tokens: int
    estimated: bool
    """Some counts are ours, since a provider gave none."""
    dollars: str
    nanodollars: int
    saved_dollars: str
    """By caches and routing."""
    saved_nanodollars: int


class UsageLine(UsageSum, frozen=True, kw_only=True):
    by: str
    """Whose or of what; empty for requests without a key or a user."""


class UsageResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of lines; pass `next` as `after` for the following one."""

    by: UsageBy
    since: float
    until: float
    """Unix seconds; the hours that hold them are summed whole."""
    lines: list[UsageLine]
    """The dearest first, or by time."""
    total: UsageSum
    """Of the lines of all pages."""
    next: str | None


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Behind which a page begins, in the time of the first one: `7d` moves on with the clock."""

    since: _UnixSeconds
    until: _UnixSeconds
    line: UsagePlace


class _Asked(NamedTuple):
    by: UsageBy
    since: float
    until: float
    limit: int
    after: UsagePlace | None


_PLACES: Final = msgspec.msgpack.Decoder(_Place)


async def get_usage(call: Call) -> Response:
    """Usage of the caller's tenant (on the server's machine: of all), summed by `by`, from
    `since` (such as `7d`, `36h` or `2026-11-01`, in UTC) to `until`, in pages; as CSV, and whole,
    for `Accept: text/csv` or `format=csv`."""
    query = call.request.query_params
    asked = _asked(query, call.system.clock.time())
    as_csv = _wants_csv(call)
    tenant = tenants_in_view(call, query.get("tenant"))
    totals = await call.system.budgets.usage(
        tenant, by=asked.by, since=asked.since, until=asked.until
    )
    # Of a hundred thousand users that is a second's work, which is not the event loop's.
    if as_csv:
        told, kind = await asyncio.to_thread(_csv, asked.by, totals), "text/csv; charset=utf-8"
    else:
        told, kind = await asyncio.to_thread(_json, asked, totals), "application/json"
    headers = {"X-Trace-Id": call.trace.id, "X-Content-Type-Options": "nosniff"}
    return Response(told, 200, headers, kind)


def _asked(query: Mapping[str, str], now: float) -> _Asked:
    """Raises `InvalidRequest`."""
    by, limit = _by(query.get("by", "day")), page_size(query.get("limit"))
    after = place_of(query.get("after"), _PLACES)
    if after is not None:
        return _Asked(by, after.since, after.until, limit, after.line)
    since = _moment(query.get("since") or _SINCE, "since", now)
    until = _moment(query["until"], "until", now) if query.get("until") else now
    if since >= until:
        raise InvalidRequest(
            "`since` is not before `until`.", remedy="Give an earlier `since`.", field="since"
        )
    return _Asked(by, since, until, limit, None)


def _by(word: str) -> UsageBy:
    if word not in BY:
        raise InvalidRequest(
            f"`by` is {word[:40]!r}.",
            remedy=did_you_mean(word[:40], BY, what="ways to sum up"),
            field="by",
        )
    return BY[word]


def _moment(text: str, field: str, now: float) -> float:
    """Unix seconds of `7d` (ago) or of an ISO date or time, which is in UTC if it does not say.
    Raises `InvalidRequest`."""
    if ago := _AGO.fullmatch(text):
        return max(0.0, now - int(ago[1]) * _SECONDS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"`{field}` is {text[:40]!r}.",
            remedy="Give hours, days or weeks back, such as 36h, 7d or 2w, or a date such as "
            "2026-11-01.",
            field=field,
        ) from None


def _wants_csv(call: Call) -> bool:
    query = call.request.query_params
    wanted = query.get("format")
    if wanted not in (None, "json", "csv"):
        raise InvalidRequest(
            f"`format` is {wanted[:40]!r}.", remedy="Give json or csv.", field="format"
        )
    is_csv = wanted == "csv" or (
        wanted is None and "text/csv" in call.request.headers.get("accept", "")
    )
    paged = next((name for name in ("limit", "after") if name in query), None)
    if is_csv and paged:
        raise InvalidRequest(
            f"CSV comes whole, and `{paged}` is given.",
            remedy="Leave it out, or ask for JSON.",
            field=paged,
        )
    return is_csv


def _json(asked: _Asked, totals: list[UsageTotal]) -> bytes:
    by, after = asked.by, asked.after
    left = [total for total in totals if after is None or total.place(by) > after]
    page, following = left[: asked.limit], None
    if len(left) > asked.limit:
        following = word_for(_Place(asked.since, asked.until, page[-1].place(by)))
    told = UsageResponse(
        by=by,
        since=asked.since,
        until=asked.until,
        lines=[_line(total) for total in page],
        total=_sum(totals),
        next=following,
    )
    return msgspec.json.encode(told)


def _csv(by: UsageBy, totals: list[UsageTotal]) -> bytes:
    """RFC 4180, with a head line."""
    text = io.StringIO()
    writer = csv.writer(text)
    fields = UsageSum.__struct_fields__
    writer.writerow([by, *fields])
    for line in map(_line, totals):
        writer.writerow([_inert(line.by), *(_cell(getattr(line, field)) for field in fields)])
    return text.getvalue().encode()


def _inert(name: str) -> str:
    """A name that a spreadsheet would take for a formula is quoted, as OWASP advises: a tenant's
    administrator chooses names, and the operator opens the file."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _line(total: UsageTotal) -> UsageLine:
    return UsageLine(by=total.by, **msgspec.structs.asdict(_sum([total])))


def _sum(totals: list[UsageTotal]) -> UsageSum:
    usage = sum((total.usage for total in totals), Usage())
    nanodollars = sum(total.nanodollars for total in totals)
    saved = sum(total.saved_nanodollars for total in totals)
    return UsageSum(
        questions=sum(total.questions for total in totals),
        cached=sum(total.cached for total in totals),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        written_input_tokens=usage.written_input_tokens,
        embedding_tokens=usage.embedding_tokens,
        rerank_tokens=usage.rerank_tokens,
        estimated=usage.estimated,
        dollars=dollars_text(nanodollars),
        nanodollars=nanodollars,
        saved_dollars=dollars_text(saved),
        saved_nanodollars=saved,
    )
