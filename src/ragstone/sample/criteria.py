"""What a shopper asks for, as a predicate over the attributes of a product."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.sample.products import Product


@dataclass(frozen=True)
class Criteria:
    """All conditions must hold; an empty one always does. A tuple means any of its values.

    `without_*` exclude. Prices are in euro cents, both bounds inclusive. `store` is the id of a
    store that must have at least one piece.
    """

    categories: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    occasions: tuple[str, ...] = ()
    seasons: tuple[str, ...] = ()
    without_colours: tuple[str, ...] = ()
    without_patterns: tuple[str, ...] = ()
    without_materials: tuple[str, ...] = ()
    size: str | None = None
    store: str | None = None
    min_price_cents: int | None = None
    max_price_cents: int | None = None
    min_rating: float | None = None

    def matches(self, product: Product) -> bool:
        """Whether the product meets every condition."""
        return self._wanted(product) and self._not_excluded(product) and self._bounded(product)

    def _wanted(self, product: Product) -> bool:
        pairs = (
            (self.categories, product.category),
            (self.departments, product.department),
            (self.colours, product.colour),
            (self.patterns, product.pattern),
            (self.materials, product.material),
            (self.seasons, product.season),
        )
        if any(wanted and value not in wanted for wanted, value in pairs):
            return False
        if self.occasions and not set(self.occasions) & set(product.occasions):
            return False
        if self.size is not None and self.size not in product.sizes:
            return False
        return self.store is None or any(store == self.store for store, _ in product.stock)

    def _not_excluded(self, product: Product) -> bool:
        return (
            product.colour not in self.without_colours
            and product.pattern not in self.without_patterns
            and product.material not in self.without_materials
        )

    def _bounded(self, product: Product) -> bool:
        if self.min_price_cents is not None and product.price_cents < self.min_price_cents:
            return False
        if self.max_price_cents is not None and product.price_cents > self.max_price_cents:
            return False
        return self.min_rating is None or product.rating >= self.min_rating
