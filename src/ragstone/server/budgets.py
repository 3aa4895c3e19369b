"""Budgets over HTTP: seen, set and removed with the scope `admin`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final, TypeVar, get_args

import msgspec
from starlette.responses import Response

from ragstone.apps import APPLICATIONS
from ragstone.domain.budget import (
    EACH,
    Budget,
    BudgetPeriod,
    BudgetScope,
    BudgetUnit,
    SpentPlace,
    budget_id_of,
)
from ragstone.domain.errors import Forbidden, InvalidRequest, UnknownBudget, did_you_mean
from ragstone.domain.usage import NANODOLLARS
from ragstone.ingest.funds import APPLICATION as INGESTION
from ragstone.server.budget_views import budgets_page, view
from ragstone.server.call import Call
from ragstone.server.documents import Deleted
from ragstone.server.pages import place_of
from ragstone.server.parameters import page_size
from ragstone.server.tenants import managed_tenant, tenants_in_view

_T = TypeVar("_T")

SCOPES: Final[dict[str, BudgetScope]] = {
    **{scope: scope for scope in get_args(BudgetScope)},
    "app": "application",
}
"""By the words for them."""
APPLICATION_NAMES: Final = (*APPLICATIONS, "search", "embeddings", INGESTION)
"""Those that answer, and what other work that costs is counted under."""
_UNITS: Final[dict[str, BudgetUnit]] = {"dollars": "nanodollars", "tokens": "tokens"}
_PERIODS: Final[dict[str, BudgetPeriod]] = {"day": "day", "month": "month"}
_MOST: Final = 10**18
"""Nano-dollars or tokens: sums of several still fit into 64 bits."""

_LONGEST: Final = 28
"""Characters of a number: so many digits `decimal` keeps exactly."""

_Name = Annotated[str, msgspec.Meta(max_length=200)]


def _one_of(*words: str) -> msgspec.Meta:
    """Told in the schema, and refused in a sentence of ours."""
    return msgspec.Meta(extra_json_schema={"enum": list(words)})


class BudgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may spend how much in a day or a month, in UTC. Replaces the limits of the budget that
    there is for the same name, period and unit."""

    scope: Annotated[str, _one_of(*SCOPES)]
    limit: str | int | float
    """From here on no model is asked: answers are cached ones, or extracted from passages."""
    period: Annotated[str, _one_of(*_PERIODS)] = "month"
    unit: Annotated[str, _one_of(*_UNITS)] = "dollars"
    name: _Name = ""
    """The key's id, the user or the application, or `*`: each has a budget of its own. Empty for
    the scope `tenant`."""
    hard_limit: str | int | float | None = None
    """At least `limit`. What else costs, as embedding and reranking, may go on up to here; then
    requests are refused."""
    tenant: _Name | None = None
    """Default: the caller's. Another one may be named only from the server's own machine."""


_REQUEST = msgspec.json.Decoder(BudgetRequest)
_PLACES: Final = msgspec.msgpack.Decoder(SpentPlace)


async def put_budget(call: Call) -> Response:
    """Set a budget. It holds within a second, also for what was spent of this period before."""
    wanted = await call.body(_REQUEST)
    tenant = managed_tenant(call, wanted.tenant)
    budget = _budget(wanted, tenant, now=call.system.clock.time())
    _require_right_to_change(call, budget)
    if budget.scope == "key":
        keys = await call.system.records.keys(tenant)
        _require_known(budget, [key.id for key in keys])
    elif budget.scope == "application":
        _require_known(budget, APPLICATION_NAMES)
    most = call.system.settings.budgets.most_per_tenant
    return call.json(view(await call.system.budgets.put_budget(budget, most=most)))


async def get_budgets(call: Call) -> Response:
    """The budgets of the caller's tenant (on the server's machine: all), and how they stand, in
    pages."""
    query = call.request.query_params
    tenant = tenants_in_view(call, query.get("tenant"))
    limit = page_size(query.get("limit"))
    after = place_of(query.get("after"), _PLACES)
    lines = await call.system.budgets.spent(tenant, limit=limit + 1, after=after)
    return call.json(budgets_page(lines, limit))


async def delete_budget(call: Call) -> Response:
    """Remove a budget: what it bound is free again."""
    budget_id = call.request.path_params["budget_id"]
    tenant = tenants_in_view(call, None)
    for budget in await call.system.budgets.budgets(tenant) if tenant is not None else ():
        if budget.id == budget_id:
            _require_right_to_change(call, budget)
    if not await call.system.budgets.delete_budget(tenant, budget_id):
        raise UnknownBudget(
            f"There is no budget {budget_id[:80]!r}.", remedy="List them with GET /v1/budgets."
        )
    return call.json(Deleted(budget_id))


def _require_right_to_change(call: Call, budget: Budget) -> None:
    """What a whole tenant may spend is the operator's to say: who is bound by it may only divide
    it. Raises `Forbidden`."""
    if budget.scope == "tenant" and call.principal.key_id is not None:
        raise Forbidden(
            "A key cannot change what its whole tenant may spend, only budgets of keys, users "
            "and applications within it.",
            remedy="Run `ragstone budgets` on the server's own machine, or ask who runs it.",
            field="scope",
        )


def _budget(wanted: BudgetRequest, tenant: str, *, now: float) -> Budget:
    scope = _word(wanted.scope, SCOPES, "scope")
    unit = _word(wanted.unit, _UNITS, "unit")
    limit = _amount(wanted.limit, unit, "limit")
    hard_limit = None
    if wanted.hard_limit is not None:
        hard_limit = _amount(wanted.hard_limit, unit, "hard_limit")
        if hard_limit < limit:
            raise InvalidRequest(
                f"The hard limit {wanted.hard_limit} is below the limit {wanted.limit}.",
                remedy="Give a hard limit that is at least the limit, or none.",
                field="hard_limit",
            )
    name = _whose(scope, wanted.name, tenant)
    period = _word(wanted.period, _PERIODS, "period")
    return Budget(
        id=budget_id_of(tenant, scope, name, period, unit),
        tenant=tenant,
        scope=scope,
        name=name,
        period=period,
        unit=unit,
        limit=limit,
        hard_limit=hard_limit,
        created_at=now,
        updated_at=now,
    )


def _word(word: str, known: Mapping[str, _T], field: str) -> _T:
    if word not in known:
        raise InvalidRequest(
            f"`{field}` is {word[:40]!r}.",
            remedy=did_you_mean(word[:40], known, what=f"{field}s"),
            field=field,
        )
    return known[word]


def _amount(given: str | float, unit: BudgetUnit, field: str) -> int:
    """In nano-dollars or tokens. Raises `InvalidRequest`."""
    scale, most = (NANODOLLARS, "1,000,000,000") if unit == "nanodollars" else (1, f"{_MOST:,}")
    number = _decimal(given)
    # Compared before it is multiplied: `9E999999` has no product.
    if not number.is_finite() or not 0 < number <= _MOST // scale:
        raise InvalidRequest(
            f"`{field}` is {str(given)[:40]!r}.",
            remedy=f"Give a number above 0, and at most {most}.",
            field=field,
        )
    amount = number * scale
    if amount != amount.to_integral_value():
        finest = "whole tokens" if scale == 1 else "at most nine decimals"
        raise InvalidRequest(
            f"`{field}` is {str(given)[:40]!r}.", remedy=f"Give {finest}.", field=field
        )
    return int(amount)


def _decimal(given: str | float) -> Decimal:
    """NaN for what is no number."""
    text = str(given)
    try:
        return Decimal(text) if len(text) <= _LONGEST else Decimal("NaN")
    except InvalidOperation:
        return Decimal("NaN")


def _whose(scope: BudgetScope, name: str, tenant: str) -> str:
    if scope == "tenant":
        if name not in ("", tenant):
            raise InvalidRequest(
                f"A budget for a whole tenant has no name, and {name[:80]!r} was given.",
                remedy="Leave `name` out; `tenant` says which tenant, and `scope` may be key, "
                "user or application.",
                field="name",
            )
        return ""
    if not name:
        raise InvalidRequest(
            f"The budget does not say for which {scope} it is.",
            remedy=f"Give a `name`, or `*` for a budget of its own for each {scope}.",
            field="name",
        )
    return name


def _require_known(budget: Budget, known: Sequence[str]) -> None:
    """A budget for a key or an application that is not there would bind nobody."""
    if budget.name != EACH and budget.name not in known:
        raise InvalidRequest(
            f"There is no {budget.scope} {budget.name[:80]!r}.",
            remedy=did_you_mean(budget.name[:80], known, what=f"{budget.scope}s"),
            field="name",
        )
