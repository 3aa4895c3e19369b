"""What models cost. Money is whole nano-dollars; see docs/prices.md.

A price is fixed when the server starts: integers, so that a question's cost is a few
multiplications, the same in every process, and adds up without loss.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

from ragstone.domain.usage import NANODOLLARS, Usage

_MILLION: Final = 1_000_000


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars for a million tokens, by kind."""

    above: int = 0
    """It holds for a whole call with more input tokens than this."""
    input: int = 0
    """Also of an embedder's and a reranker's tokens."""
    cached_input: int = 0
    written_input: int = 0
    """Input that the provider puts into its prompt cache."""
    output: int = 0

    def of(self, usage: Usage) -> int:
        """In millionths of a nano-dollar."""
        written = usage.written_input_tokens
        plain = max(0, usage.input_tokens - usage.cached_input_tokens - written)
        return (
            (plain + usage.embedding_tokens + usage.rerank_tokens) * self.input
            + usage.cached_input_tokens * self.cached_input
            + written * self.written_input
            + usage.output_tokens * self.output
        )

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input, self.written_input)


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model."""

    source: str
    """`free`, `configured`, or the price list's name and version."""
    rates: tuple[Rate, ...]
    """At least one, by rising `above`, from 0: providers charge a whole call by its length."""
    call: int = 0
    """Nano-dollars for each call, beside its tokens."""

    @property
    def free(self) -> bool:
        return not self.call and not any(rate.dearest_input or rate.output for rate in self.rates)

    def rate(self, input_tokens: int) -> Rate:
        """The one for a call with so much input."""
        for rate in reversed(self.rates):
            if input_tokens > rate.above:
                return rate
        return self.rates[0]

    def cost(self, usage: Usage) -> int:
        """Nano-dollars of one call, rounded up once. Nothing was used: nothing is paid."""
        if usage == _NOTHING:
            return 0
        return self.call + _up(self.rate(usage.input_tokens).of(usage))

    def saved_by_cache(self, usage: Usage) -> int:
        """Nano-dollars that the provider's prompt cache took off, rounded down."""
        rate = self.rate(usage.input_tokens)
        return usage.cached_input_tokens * max(0, rate.input - rate.cached_input) // _MILLION

    def upper_bound(self, input_tokens: int, output_tokens: int = 0) -> int:
        """At least the `cost` of every usage within these numbers, however it is cached.

        `input_tokens` are also an embedder's or a reranker's.
        """
        reachable = (rate for rate in self.rates if rate.above < input_tokens or not rate.above)
        return self.call + max(
            _up(input_tokens * rate.dearest_input + output_tokens * rate.output)
            for rate in reachable
        )

    def dearer_of(self, other: "Price") -> "Price":
        """At no usage cheaper than either: for two endpoints that have one name."""
        starts = sorted({rate.above for price in (self, other) for rate in price.rates})
        return Price(
            source=self.source,
            rates=tuple(_dearer(start, self, other) for start in starts),
            call=max(self.call, other.call),
        )


FREE: Final = Price(source="free", rates=(Rate(),))
_NOTHING: Final = Usage()


class PriceBook(msgspec.Struct, frozen=True, kw_only=True):
    """Every price of one server."""

    models: Mapping[str, Price] | None = None
    """Of the language models, by name. None: all are free."""
    best: str | None = None
    """The first model of the highest quality: what routing saves is counted against it."""
    embedder: Price = FREE
    reranker: Price = FREE
    regions: Mapping[str, str] = {}
    """Where the language models compute, by name, as far as it was said; told on receipts."""

    def model(self, name: str) -> Price:
        """Raises `KeyError` for a model that the route does not have."""
        return FREE if self.models is None else self.models[name]


ALL_FREE: Final = PriceBook()


def nanodollars(dollars: Decimal) -> int:
    """Rounded up."""
    return int((dollars * NANODOLLARS).to_integral_value(ROUND_CEILING))


def _up(millionths: int) -> int:
    return -(-millionths // _MILLION)


def _dearer(start: int, one: Price, other: Price) -> Rate:
    a, b = one.rate(start + 1), other.rate(start + 1)
    return Rate(
        above=start,
        input=max(a.input, b.input),
        cached_input=max(a.cached_input, b.cached_input),
        written_input=max(a.written_input, b.written_input),
        output=max(a.output, b.output),
    )
