"""Budgets and charges of a site, against what its simulated model was really used for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from ragstone.domain.errors import InvalidExperiment
from ragstone.lab.chaos.site import Settings, Site
from ragstone.lab.chaos.verdict import Check, none_of

_INPUT, _OUTPUT = 1_000, 10_000
"""Nano-dollars for a token."""

REPORT_SECONDS: Final = 0.2
BILLED: Final[Settings] = {
    "llm": {"input_price": "1", "output_price": "10", "max_tokens": 64},
    "budgets": {"report_seconds": REPORT_SECONDS},
}
"""Settings of a model that is paid for, in dollars for a million tokens, and of a short wait for
what processes report."""

_LOOK_SECONDS: Final = 0.1
_SETTLE_SECONDS: Final = 30.0
_QUIET_LOOKS: Final = round(10 * REPORT_SECONDS / _LOOK_SECONDS)
"""By their number: to a server that is held up, each is a long time."""


class Standing(msgspec.Struct, frozen=True):
    """One budget of one name, in nano-dollars or tokens."""

    what: str
    settled: int
    reserved: int
    """Held by running requests, and by processes for those to come."""
    limit: int

    @property
    def is_kept(self) -> bool:
        return self.settled + self.reserved <= self.limit


async def standings(site: Site) -> list[Standing]:
    """Of all budgets, their hard limits too."""
    told = await site.call("GET", "/v1/budgets")
    return [
        standing
        for budget in told["budgets"]
        for line in budget["standing"]
        for standing in _standings(budget, line)
    ]


def _standings(budget: dict[str, Any], line: dict[str, Any]) -> list[Standing]:
    unit = "tokens" if budget["unit"] == "tokens" else "nanodollars"
    what = f"{budget['tenant']} {budget['scope']} {line['name']}".strip()
    found = [
        Standing(what, line["settled"][unit], line["outstanding"][unit], budget["limit"][unit])
    ]
    if budget["hard_limit"] is not None:
        hard = (line["hard_settled"][unit], line["hard_outstanding"][unit])
        found.append(Standing(f"{what} hard", *hard, budget["hard_limit"][unit]))
    return found


def overspent(found: Sequence[Standing]) -> list[str]:
    """What is beyond its limit, in words."""
    return [f"{s.what}: {s.settled} + {s.reserved} > {s.limit}" for s in found if not s.is_kept]


async def budgets_kept(site: Site) -> list[Check]:
    """Settled + reserved <= budget; nothing to check where there is no budget."""
    found = await standings(site)
    return [none_of("budgets overspent", overspent(found))] if found else []


@dataclass
class Watch:
    """What was seen of the budgets while something else went on."""

    looks: int = 0
    overspent: list[str] = field(default_factory=list)


@asynccontextmanager
async def watched(site: Site) -> AsyncIterator[Watch]:
    """Looks at the budgets all the time; a server that is away is asked again."""
    watch = Watch()

    async def look() -> None:
        while True:
            with suppress(aiohttp.ClientError, InvalidExperiment, RuntimeError, TimeoutError):
                watch.overspent += overspent(await standings(site))
                watch.looks += 1
            await asyncio.sleep(_LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def cost(input_tokens: int, output_tokens: int) -> int:
    """In nano-dollars, by the prices of `BILLED`."""
    return input_tokens * _INPUT + output_tokens * _OUTPUT


async def really_used(site: Site) -> dict[str, int]:
    """Nano-dollars by how calls of the model ended, as the model itself has counted."""
    stats = await site.llm.stats()
    sent, written = stats["input_tokens"], stats["output_tokens"]
    return {outcome: cost(sent[outcome], written[outcome]) for outcome in sent}


async def set_budget(site: Site, dollars: float, tenant: str = "acme") -> None:
    """For the whole tenant, a month; what was spent before counts."""
    body = {"scope": "tenant", "tenant": tenant, "limit": f"{dollars:.9f}"}
    await site.call("PUT", "/v1/budgets", body)


async def charged(site: Site, by: str, tenant: str = "acme") -> dict[str, int]:
    """Nano-dollars by what `/v1/usage` is asked by, once nothing is added any more."""
    now = asyncio.get_running_loop().time
    end, same = now() + _SETTLE_SECONDS, 0
    before: dict[str, int] = {}
    while same < _QUIET_LOOKS and now() < end:
        told = await site.call("GET", f"/v1/usage?by={by}&since=2d&tenant={tenant}&limit=1000")
        found = {line["by"]: int(line["nanodollars"]) for line in told["lines"]}
        same = same + 1 if found == before else 0
        before = found
        await asyncio.sleep(_LOOK_SECONDS)
    return before


async def settled(site: Site, tenant: str = "acme") -> int:
    """Against the tenant's budgets."""
    return sum(s.settled for s in await standings(site) if s.what.startswith(f"{tenant} tenant"))
