"""Hand-written shopping requests, read from `product_requests.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from ragstone.sample.criteria import Criteria


@dataclass(frozen=True)
class Request:
    """A need, the ways of asking for it, and optionally what would make a product ideal.

    Products that meet `need` are relevant. With `ideal`, those that meet it too have grade 2 and
    the others grade 1; without it all have grade 2.
    """

    key: str
    kind: str
    texts: tuple[str, ...]
    need: Criteria
    ideal: Criteria | None = None


@dataclass(frozen=True)
class NotSold:
    """A question that the catalogue cannot answer; `absent` is a word that no product has."""

    key: str
    text: str
    absent: str


@dataclass(frozen=True)
class Requests:
    """All hand-written requests: those that can be met, and those that cannot."""

    answerable: tuple[Request, ...]
    impossible: tuple[Request, ...]
    not_sold: tuple[NotSold, ...]


@cache
def load_requests() -> Requests:
    """Read the requests from the package data."""
    source = resources.files(__package__).joinpath("product_requests.toml")
    return msgspec.toml.decode(source.read_bytes(), type=Requests)
