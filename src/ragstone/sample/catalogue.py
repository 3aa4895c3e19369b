"""What the sample retailer sells: its categories and materials, read from `catalogue.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec


@dataclass(frozen=True)
class Material:
    """A material: price factor, the seasons in which it is worn, and its care line."""

    factor: float
    seasons: tuple[str, ...]
    care: str


@dataclass(frozen=True)
class Category:
    """One kind of article; `group` decides in which stores it is carried.

    `price` is the usual range in euros. A pattern listed twice is twice as likely. `weight` is
    the share of the category among products, relative to the others.
    """

    name: str
    department: str
    group: str
    nouns: tuple[str, ...]
    price: tuple[int, int]
    sizes: tuple[str, ...]
    materials: tuple[str, ...]
    patterns: tuple[str, ...]
    colours: tuple[str, ...]
    occasions: tuple[str, ...]
    fits: tuple[str, ...]
    features: tuple[str, ...]
    weight: int


@dataclass(frozen=True)
class Catalogue:
    """All categories, and the materials by name."""

    materials: dict[str, Material]
    categories: tuple[Category, ...]


@cache
def load_catalogue() -> Catalogue:
    """Read the catalogue from the package data."""
    source = resources.files(__package__).joinpath("catalogue.toml")
    return msgspec.toml.decode(source.read_bytes(), type=Catalogue)
