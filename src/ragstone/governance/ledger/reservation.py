"""What is held for one call of a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragstone.domain.budget import Amount, Spender
from ragstone.governance.ledger.sharing import share
from ragstone.governance.ledger.slices import Slice

if TYPE_CHECKING:
    from ragstone.governance.ledger.book import Book


@dataclass(slots=True, eq=False)
class Reservation:
    """Open, from the call of a model to its settlement."""

    book: "Book"
    number: int
    upper: Amount
    model: bool
    at: float
    """Unix seconds. What it cost counts as used then, as it does in the accounts."""
    parties: list[tuple[Spender, Sequence[Slice]]]
    slices: list[Slice] = field(default_factory=list)
    """In which `upper` is held: those of all parties, each once."""

    def charges(self, spent: Amount) -> list[tuple[Slice, int]]:
        """To each slice the shares of the parties that have it."""
        if len(self.parties) == 1:
            return [(slice_, slice_.of(spent)) for slice_ in self.slices]
        charges = dict.fromkeys(self.slices, 0)
        for place, (_, slices) in enumerate(self.parties):
            for slice_ in slices:
                charges[slice_] += share(slice_.of(spent), len(self.parties), place)
        return list(charges.items())
