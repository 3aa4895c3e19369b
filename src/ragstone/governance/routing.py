"""Which models of a route are asked, and in which order.

The route's own order is the operator's: the first model serves, the others stand by for its
failures. Two things change it: a budget that is nearly spent, and an answer that was not good
enough.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from ragstone.domain.budget import Standing
from ragstone.ports import ModelOffer

_OUTPUT_SHARE: Final = 0.1
"""Of a question's tokens, what the model writes: a prompt of 1,500 tokens of passages and an
answer of 150 (docs/decisions/0010-lean-prompts.md has measured lengths)."""


def order(offers: Sequence[ModelOffer], standing: Standing) -> list[str]:
    """The models to try for a first answer, by name; none once the budget is spent."""
    if standing == "exhausted":
        return []
    if standing == "economy":
        return _names(sorted(offers, key=price_of_a_question))
    return _names(offers)


def better(offers: Sequence[ModelOffer], than: str) -> list[str]:
    """Those of a higher quality than the model named `than`, the nearest quality first."""
    reached = max((offer.quality for offer in offers if offer.name == than), default=0)
    higher = [offer for offer in offers if offer.quality > reached]
    return _names(sorted(higher, key=lambda offer: offer.quality))


def price_of_a_question(offer: ModelOffer) -> float:
    """Nano-dollars for a million tokens of the usual mix of input and output."""
    return (1 - _OUTPUT_SHARE) * offer.input_price + _OUTPUT_SHARE * offer.output_price


def _names(offers: Iterable[ModelOffer]) -> list[str]:
    """Each once; `sorted` keeps the route's order among equals."""
    return list(dict.fromkeys(offer.name for offer in offers))
