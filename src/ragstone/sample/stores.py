"""The stores of the sample retailer, read from the same CSV that is part of the help documents."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Store:
    """A store as in `documents/stores/stores.csv`; `kind` is flagship, store or outlet."""

    store_id: str
    name: str
    kind: str
    city: str
    country: str


@cache
def load_stores() -> tuple[Store, ...]:
    """All stores, in the order of the CSV."""
    source = resources.files(__package__).joinpath("documents", "stores", "stores.csv")
    rows = csv.DictReader(source.read_text(encoding="utf-8").splitlines())
    return tuple(
        Store(row["store_id"], row["name"], row["kind"], row["city"], row["country"])
        for row in rows
    )
