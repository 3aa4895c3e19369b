"""What a question consumed, and what it cost.

Money is whole nano-dollars (1e-9 dollars) everywhere: integers add up without loss.
"""

from typing import Final, Literal

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens consumed, by kind. Counts come from the provider where it gives them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    """Part of `input_tokens` that the provider served from its prompt cache."""
    written_input_tokens: int = 0
    """Part of `input_tokens` that the provider put into its prompt cache, at a price of its own."""
    embedding_tokens: int = 0
    rerank_tokens: int = 0
    estimated: bool = False
    """True when the provider gave no count and ours stands in."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            written_input_tokens=self.written_input_tokens + other.written_input_tokens,
            embedding_tokens=self.embedding_tokens + other.embedding_tokens,
            rerank_tokens=self.rerank_tokens + other.rerank_tokens,
            estimated=self.estimated or other.estimated,
        )

    @property
    def tokens(self) -> int:
        """Of the language model: what budgets and quotas of tokens count."""
        return self.input_tokens + self.output_tokens


MOST_TOKENS: Final = 1 << 32
"""Of one call. A provider that counts more, or less than none, has not counted."""

NANODOLLARS: Final = 1_000_000_000
"""In a dollar."""


def dollars_text(nanodollars: int) -> str:
    """Exactly, as `12.50` or `0.000000375`: with two decimals at least, and as many as needed."""
    whole, parts = divmod(abs(nanodollars), NANODOLLARS)
    decimals = f"{parts:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanodollars < 0 else ''}{whole}.{decimals}"


ChargeKind = Literal["generation", "embedding", "rerank"]
Saving = Literal["answer_cache", "shared", "prompt_cache", "routing", "compression"]


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One call to what is billed."""

    kind: ChargeKind
    model: str
    usage: Usage
    nanodollars: int
    price: str
    """Where the price is from: `configured`, `free`, or the price list's name and date."""
    region: str = ""
    """Where the model computed, such as `eu`, as configured; empty where that was not said."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer cost whoever asked, and what it would have cost."""

    nanodollars: int = 0
    charges: list[Charge] = []
    """Every call, also those that failed after they had begun."""
    saved_nanodollars: dict[Saving, int] = {}
    """Against asking the first model of the route afresh; estimated from the kept answer."""
    shared_by: int = 1
    """How many asked the same at the same time and share the cost."""
    standing: Literal["normal", "economy", "exhausted"] = "normal"
    """How the budgets were when the question came; see docs/budgets.md."""
    escalated_from: str | None = None
    """The model whose answer was not good enough and was replaced; see docs/routing.md."""
