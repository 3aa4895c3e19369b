"""List prices of hosted models, from the data that the package `genai-prices` brings along.

Nothing is fetched. Its import takes half a second: only for a server that is billed.
"""

import difflib
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from genai_prices import __version__
from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    TieredPrices,
    TimeOfDateConstraint,
)

from ragstone.governance.prices import Price, Rate, nanodollars

NAME: Final = f"genai-prices {__version__}"
_NEAR: Final = 3
_THOUSAND: Final = 1000


def listed(base_url: str, model: str, *, now: datetime, writes: bool) -> Price | None:
    """The price of `model` at that address; None where the list has none that is whole.

    `writes`: it needs a price of output too. Where prices change with the hour of the day the
    dearest holds all day long.
    """
    for provider in _at(base_url):
        found = provider.find_model(model.lower(), all_providers=providers)
        if found is not None and (price := _price(found, now.astimezone(UTC), writes)) is not None:
            return price
    return None


def near_names(base_url: str, model: str) -> list[str]:
    """Listed models of that address (or of all, where it is not known) with a similar name."""
    at = _at(base_url) or providers
    names = {found.id for provider in at for found in provider.models}
    return difflib.get_close_matches(model.lower(), sorted(names), n=_NEAR)


def _at(base_url: str) -> list[Provider]:
    return [provider for provider in providers if re.match(provider.api_pattern, base_url)]


def _price(model: ModelInfo, now: datetime, writes: bool) -> Price | None:
    prices = [price for one in _in_force(model, now) if (price := _whole(one, writes))]
    if not prices:
        return None
    dearest = prices[0]
    for price in prices[1:]:
        dearest = dearest.dearer_of(price)
    return dearest


def _in_force(model: ModelInfo, now: datetime) -> list[ModelPrice]:
    """Those that hold at some hour of this day; of dated ones the latest that has begun."""
    if isinstance(model.prices, ModelPrice):
        return [model.prices]
    hourly = [one for one in model.prices if isinstance(one.constraint, TimeOfDateConstraint)]
    dated = [one for one in model.prices if one not in hourly and _has_begun(one, now)]
    return [one.prices for one in [*hourly, *(dated or model.prices)[-1:]]]


def _has_begun(price: ConditionalPrice, now: datetime) -> bool:
    return price.constraint is None or price.constraint.active(now)


def _whole(price: ModelPrice, writes: bool) -> Price | None:
    """None without a price of input, or of output where that is needed."""
    given = price.__dict__
    read, output = given.get("input_mtok"), given.get("output_mtok")
    if read is None or (writes and output is None):
        return None
    reasoning = given.get("output_reasoning_mtok")
    kinds = (read, given.get("cache_read_mtok"), given.get("cache_write_mtok"), output, reasoning)
    starts = sorted({0}.union(*(_starts(kind) for kind in kinds)))
    return Price(
        source=NAME,
        rates=tuple(_rate(start, *kinds) for start in starts),
        call=_nanodollars(given.get("requests_kcount"), 0, 0) // _THOUSAND,
    )


_Listed = Decimal | TieredPrices | None


def _rate(
    start: int, read: _Listed, cached: _Listed, written: _Listed, output: _Listed, reasons: _Listed
) -> Rate:
    plain = _nanodollars(read, start, 0)
    return Rate(
        above=start,
        input=plain,
        cached_input=_nanodollars(cached, start, plain),
        written_input=_nanodollars(written, start, plain),
        output=max(_nanodollars(output, start, 0), _nanodollars(reasons, start, 0)),
    )


def _starts(price: _Listed) -> set[int]:
    return {tier.start for tier in price.tiers} if isinstance(price, TieredPrices) else set()


def _nanodollars(price: _Listed, start: int, missing: int) -> int:
    """What holds above `start`."""
    if price is None:
        return missing
    if isinstance(price, TieredPrices):
        held = [tier.price for tier in price.tiers if tier.start <= start]
        return nanodollars(held[-1] if held else price.base)
    return nanodollars(price)
