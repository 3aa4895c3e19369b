"""A seeded generator of products for the sample retailer.

Product number `n` depends only on the seed and on `n`, so a smaller catalogue is a prefix of a
larger one with the same seed.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass

from ragstone.sample import compatibility as rules
from ragstone.sample import wording
from ragstone.sample.catalogue import Category, Material, load_catalogue
from ragstone.sample.stores import Store, load_stores

MIN_WORDS, MAX_WORDS = 40, 90
_BULKY = ("furniture", "outdoor")


@dataclass(frozen=True)
class Product:
    """One article. Prices are in euro cents; `stock` pairs a store id with a positive count."""

    id: str
    title: str
    text: str
    category: str
    department: str
    group: str
    colour: str
    pattern: str
    material: str
    occasions: tuple[str, ...]
    season: str
    fit: str | None
    sizes: tuple[str, ...]
    price_cents: int
    rating: float
    reviews: int
    care: str
    stock: tuple[tuple[str, int], ...]

    def as_document(self) -> dict[str, object]:
        """The JSONL record: `id`, `title`, `text` and flat `metadata` that can be filtered on.

        `stores` lists the ids of stores that have it, `stock` the same with counts as `id:count`.
        `price` is in euros.
        """
        metadata: dict[str, object] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in {"id", "title", "text", "stock", "price_cents"} and value is not None
        }
        metadata["price"] = self.price_cents / 100
        metadata["stores"] = [store for store, _ in self.stock]
        metadata["stock"] = [f"{store}:{count}" for store, count in self.stock]
        metadata["stock_total"] = sum(count for _, count in self.stock)
        return {"id": self.id, "title": self.title, "text": self.text, "metadata": metadata}


def generate_products(count: int = 5000, seed: int = 7) -> list[Product]:
    """Generate `count` products; the same arguments always give the same list.

    Raises:
        ValueError: if `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, but is {count}")
    stores = load_stores()
    categories = load_catalogue().categories
    weights = [category.weight for category in categories]
    products = []
    for number in range(1, count + 1):
        rng = random.Random(f"{seed}:{number}")
        category = rng.choices(categories, weights)[0]
        products.append(_generate(number, category, stores, rng))
    return products


def _generate(
    number: int, category: Category, stores: tuple[Store, ...], rng: random.Random
) -> Product:
    noun = rng.choice(category.nouns)
    material = rng.choice(rules.materials_for(category, noun))
    colour = rng.choice(rules.colours_for(category, material))
    pattern = rng.choice(rules.patterns_for(category, material))
    made_of = load_catalogue().materials[material]
    season = rng.choice(rules.seasons_for(category, made_of))
    possible = rules.occasions_for(category, season, material, colour, pattern)
    occasions = tuple(rng.sample(possible, min(len(possible), rng.choice((1, 2, 2)))))
    words = _Words(rng, noun, colour, pattern, material, season, occasions)
    fit = rng.choice(category.fits) if category.fits else None
    care = rules.care_for(category, material, made_of)
    features = rules.features_for(category, noun, material)
    chosen = rng.sample(features, min(len(features), 2))
    return Product(
        id=f"p{number:05d}",
        title=words.title(),
        text=words.text(category.department, chosen, fit, care),
        category=category.name,
        department=category.department,
        group=category.group,
        colour=colour,
        pattern=pattern,
        material=material,
        occasions=occasions,
        season=season,
        fit=fit,
        sizes=_sizes(category, rng),
        price_cents=_price_cents(category, noun, made_of, rng),
        rating=round(rng.triangular(2.9, 5.0, 4.4), 1),
        reviews=int(rng.expovariate(1 / 40)),
        care=care,
        stock=_stock(category, stores, rng),
    )


def _price_cents(category: Category, noun: str, material: Material, rng: random.Random) -> int:
    low, high = rules.NOUN_PRICES.get(noun, category.price)
    euros = rng.triangular(low, high, low + (high - low) * 0.35) * material.factor
    if euros >= 200:
        return round(euros / 10) * 1000 - 100
    return round(euros) * 100 - rng.choice((0, 5, 50))


def _sizes(category: Category, rng: random.Random) -> tuple[str, ...]:
    """A run of neighbouring sizes; half of the articles are missing one in between."""
    sizes = list(category.sizes)
    if len(sizes) <= 4:
        return tuple(sizes[: rng.randint(1, len(sizes))])
    first = rng.randint(0, 2)
    run = sizes[first : len(sizes) - rng.randint(0, 2)]
    if rng.random() < 0.5:
        run.pop(rng.randrange(len(run)))
    return tuple(run)


def _stock(
    category: Category, stores: tuple[Store, ...], rng: random.Random
) -> tuple[tuple[str, int], ...]:
    chances = {"flagship": 0.7, "store": 0.4, "outlet": 0.2}
    most = 3 if category.group in _BULKY else 9
    found = []
    for store in stores:
        carried = category.group in rules.CARRIED[store.store_id]
        if carried and rng.random() < chances[store.kind]:
            found.append((store.store_id, rng.randint(1, most)))
    return tuple(found)


class _Words:
    """Writes title and text of one product, drawing a name for each attribute value as it goes."""

    def __init__(
        self,
        rng: random.Random,
        noun: str,
        colour: str,
        pattern: str,
        material: str,
        season: str,
        occasions: tuple[str, ...],
    ) -> None:
        self.rng = rng
        self.noun = noun
        self.colour, self.pattern, self.material = colour, pattern, material
        self.season, self.occasions = season, occasions
        self.name = rng.choice(wording.NAMES)
        self.plural = noun.endswith(wording.PLURALS)

    def title(self) -> str:
        """A short title that names some of the attributes."""
        return self._fill(self.rng.choice(wording.TITLES))

    def text(self, department: str, features: list[str], fit: str | None, care: str) -> str:
        """A paragraph of MIN_WORDS to MAX_WORDS words."""
        opening = self._fill(
            self.rng.choice(wording.PLURAL_OPENINGS if self.plural else wording.OPENINGS)
        )
        season = self.rng.choice(wording.SEASONS[self.season])
        first = self.rng.choice(wording.OCCASIONS[self.occasions[0]])
        occasion = self.rng.choice(wording.OCCASION_LINES).format(occasion=first, season=season)
        for other in self.occasions[1:]:
            phrase = self.rng.choice(wording.OCCASIONS[other])
            occasion += " " + self.rng.choice(wording.SECOND_OCCASION_LINES).format(occasion=phrase)
        feature = self.rng.choice(wording.FEATURE_LINES).format(features=" and ".join(features))
        middle = [occasion, feature]
        if department in wording.DEPARTMENTS:
            middle.append(self.rng.choice(wording.DEPARTMENTS[department]))
        if fit is not None:
            middle.append(self.rng.choice(wording.FITS[fit]))
        self.rng.shuffle(middle)
        extras = self.rng.sample(wording.EXTRA_LINES, len(wording.EXTRA_LINES))
        sentences = [opening, *middle, care]
        while len(" ".join(sentences).split()) < MIN_WORDS + self.rng.randint(0, 12):
            sentences.insert(-1, extras.pop())
        return " ".join(self._agree(sentence) for sentence in sentences)

    def _fill(self, template: str) -> str:
        filled = template.format(
            name=self.name,
            noun=self.noun,
            noun_start=self.noun[0].upper() + self.noun[1:],
            colour=self._draw(wording.COLOURS[self.colour]),
            pattern=self._draw(wording.PATTERNS[self.pattern]),
            material=self._draw(wording.MATERIALS[self.material]),
        )
        filled = filled.replace("A A-line", "An A-line").replace("a A-line", "an A-line")
        for vowel in "aeiou":
            filled = filled.replace(f" a {vowel}", f" an {vowel}")
            filled = filled.replace(f"A {vowel}", f"An {vowel}") if filled[0] == "A" else filled
        return filled.replace(" an one-piece", " a one-piece").replace(
            "An one-piece", "A one-piece"
        )

    def _agree(self, sentence: str) -> str:
        """Turn "It has" into "They have" for trousers, shoes and the like."""
        if not self.plural:
            return sentence
        singular = {
            "It has": "They have",
            "It does": "They do",
            "It follows": "They follow",
            "It is cut": "They are cut",
            "at its best": "at their best",
            "it feels": "they feel",
            "reach for it": "reach for them",
            "prefer it": "prefer them",
            "true to its": "true to their",
        }
        for old, new in singular.items():
            sentence = sentence.replace(old, new)
        return sentence

    def _draw(self, phrases: tuple[str, ...]) -> str:
        """The plain name half of the time, otherwise one of the others."""
        if len(phrases) == 1 or self.rng.random() < 0.45:
            return phrases[0]
        return self.rng.choice(phrases[1:])
