"""Settings become prices: configured, from the price list, or free. See docs/prices.md."""

import ipaddress
import re
import socket
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from ragstone.domain.errors import UnknownPrice
from ragstone.governance.prices import FREE, Price, PriceBook, Rate, nanodollars
from ragstone.ports import Clock
from ragstone.settings import LlmEndpoint, Settings

_OWN_ADDRESSES: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
_PRIVATE_NAMES: Final = (
    *("localhost", "local", "internal", "lan", "home", "corp", "intranet", "private"),
    *("test", "svc", "arpa"),
)
"""Last parts of names that the public DNS does not have (RFC 2606, 6761, 6762, 8375; ICANN keeps
`internal`, `home` and `corp` back), or not for servers."""
_UNPUBLISHED: Final = re.compile(
    r"(?:[\w.-]+/)*(?:claude-|gemini-|gpt-[345]|chatgpt-|o[134](?:-|$)|text-embedding-(?:3|ada))",
    re.I,
)
"""Names of models whose makers alone serve them: at one's own address stands a proxy."""
_WRITING: Final = {"openai": Decimal(1), "anthropic": Decimal("1.25")}
"""Tokens written to a provider's prompt cache, against plain input: OpenAI's cost the same,
Anthropic's a quarter more (for five minutes; its list prices say so too)."""
_THOUSAND: Final = 1000


def open_prices(settings: Settings, clock: Clock, *, embedder: Price | None = None) -> PriceBook:
    """Raises `UnknownPrice` for what is billed at a price that nobody has said.

    `embedder`: the engine's, which embeds for a gateway whatever the gateway's settings say.
    """
    now = datetime.fromtimestamp(clock.time()).astimezone()
    endpoints: list[LlmEndpoint] = [settings.llm, *settings.llm.fallbacks]
    models: dict[str, Price] = {}
    for position, endpoint in enumerate(endpoints):
        if not endpoint.model:  # refused elsewhere, or there is no model at all
            continue
        price = _of_model(endpoint, position, now)
        known = models.get(endpoint.model)
        models[endpoint.model] = price if known is None else known.dearer_of(price)
    return PriceBook(
        models=models,
        best=max(endpoints, key=lambda endpoint: endpoint.quality).model or None,
        embedder=_of_embedder(settings, now) if embedder is None else embedder,
        reranker=_of_reranker(settings),
        regions={model: _regions(endpoints, model) for model in models},
    )


def _regions(endpoints: list[LlmEndpoint], model: str) -> str:
    """A model at several endpoints may compute at any of them."""
    named = (each.region for each in endpoints if each.model == model)
    return ", ".join(dict.fromkeys(filter(None, named)))


def _of_model(endpoint: LlmEndpoint, position: int, now: datetime) -> Price:
    address = endpoint.base_url or _OWN_ADDRESSES[endpoint.provider]
    given, output = endpoint.input_price, endpoint.output_price
    base: Price | None = FREE
    if (given is None or output is None) and is_billed(address, endpoint.model):
        base = _listed(address, endpoint.model, now, writes=True)
    if base is None:
        field = "llm" if not position else f"llm.fallbacks.{position - 1}"
        setting = f"{field}.input_price and {field}.output_price"
        raise _unknown("language model", endpoint.model, address, setting)
    writing = _WRITING[endpoint.provider]
    return _configured(base, given, endpoint.cached_input_price, output, writing=writing)


def _of_embedder(settings: Settings, now: datetime) -> Price:
    chosen = settings.embedder
    if chosen.provider != "openai":
        return FREE
    address = chosen.base_url or _OWN_ADDRESSES["openai"]
    base: Price | None = FREE
    if chosen.price is None and is_billed(address, chosen.model):
        base = _listed(address, chosen.model, now, writes=False)
    if base is None:
        raise _unknown("embedding model", chosen.model, address, "embedder.price")
    return _configured(base, chosen.price, None, None)


def _of_reranker(settings: Settings) -> Price:
    """The list has none: providers charge for searches, or for tokens, as they like."""
    chosen = settings.reranker
    given, call = chosen.price, chosen.call_price
    if given is None and call is None:
        if not chosen.base_url or not is_billed(chosen.base_url, chosen.model):
            return FREE
        setting = "reranker.price or reranker.call_price"
        raise _unknown("reranker", chosen.model, chosen.base_url, setting)
    rate = nanodollars(given or Decimal(0))
    return Price(
        source="configured",
        rates=(Rate(input=rate, cached_input=rate, written_input=rate),),
        call=-(-nanodollars(call or Decimal(0)) // _THOUSAND),
    )


def _configured(
    base: Price,
    read: Decimal | None,
    cached: Decimal | None,
    output: Decimal | None,
    *,
    writing: Decimal = Decimal(1),
) -> Price:
    """What is set wins over `base`, for calls of every length. `writing` to the provider's prompt
    cache costs so much more than reading."""
    if read is None and cached is None and output is None:
        return base

    def rate(listed: Rate) -> Rate:
        plain = listed.input if read is None else nanodollars(read)
        kept = listed.cached_input if read is None else plain
        return Rate(
            above=listed.above,
            input=plain,
            cached_input=kept if cached is None else nanodollars(cached),
            written_input=(
                max(plain, listed.written_input) if read is None else nanodollars(read * writing)
            ),
            output=listed.output if output is None else nanodollars(output),
        )

    return Price(source="configured", rates=tuple(map(rate, base.rates)), call=base.call)


def _listed(address: str, model: str, now: datetime, *, writes: bool) -> Price | None:
    from ragstone.governance.price_list import listed  # half a second: only where it is needed

    return listed(address, model, now=now, writes=writes)


def _unknown(what: str, model: str, address: str, setting: str) -> UnknownPrice:
    from ragstone.governance.price_list import NAME, near_names

    near = near_names(address, model)
    alike = f" Similar names there: {', '.join(near)}." if near else ""
    host = urlsplit(address).hostname or address
    return UnknownPrice(
        f"The price of the {what} {model!r} at {host} is not known: {NAME} does not list it there.",
        remedy=f"Set {setting}, in dollars; 0 where it costs nothing.{alike}",
        field=setting.partition(" ")[0],
    )


def is_billed(base_url: str, model: str) -> bool:
    """Whether somebody asks money for the model there, as far as address and name tell."""
    return not is_self_hosted(base_url) or bool(_UNPUBLISHED.match(model))


def is_self_hosted(base_url: str) -> bool:
    """Whether it is one's own address: a loopback or private one, or a name that the public DNS
    does not have. Nothing is looked up."""
    host = (urlsplit(base_url).hostname or "").rstrip(".").lower()
    if (address := _number(host)) is not None:
        return not address.is_global
    _, dot, last = host.rpartition(".")
    return bool(host) and (not dot or last in _PRIVATE_NAMES)


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for a name. `127.1`, `2130706433` and `0x7f000001` are numbers to a socket, too."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.partition("%")[0])
    with suppress(OSError, UnicodeError):
        return ipaddress.ip_address(socket.inet_aton(host))
    return None
