"""Shopping requests composed from the attributes of the catalogue itself.

They fill up the hand-written ones, whatever the seed and the number of products: each is sampled
from an existing product, so at least one product meets it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ragstone.sample import wording
from ragstone.sample.criteria import Criteria
from ragstone.sample.products import Product
from ragstone.sample.requests import Request
from ragstone.sample.stores import load_stores

MOST_MATCHES = 40
_OWNERS = {"women": "women's ", "men": "men's ", "kids": "children's ", "home": ""}
_UNCOUNTED = ("trousers", "shoes", "swimwear", "jewellery", "bed linen", "tableware", "cookware")
# Who says "cotton" or "blue" also means these; finer names mean only themselves.
_FAMILIES = {
    "cotton": ("cotton", "organic cotton", "cotton voile"),
    "wool": ("wool", "merino", "boiled wool", "wool bouclé"),
    "linen": ("linen", "washed linen"),
    "blue": ("blue", "navy"),
    "green": ("green", "sage"),
}
_TEMPLATES = (
    "{what} {details}",
    "I am looking for {what} {details}. What do you have?",
    "Do you sell {what} {details}?",
    "Show me {what}, please: {details}",
    "I need {what} {details}, any ideas?",
)


def compose_requests(products: Sequence[Product], count: int, seed: int) -> list[Request]:
    """Compose up to `count` distinct requests that between 1 and 40 products meet.

    Fewer are returned when the catalogue is too small to give that many.
    """
    rng = random.Random(f"requests:{seed}")
    seen: set[Criteria] = set()
    found: list[Request] = []
    for _ in range(count * 20):
        if len(found) == count or not products:
            break
        need, text, kind = _compose(rng.choice(products), rng)
        matches = sum(need.matches(product) for product in products)
        if need in seen or not 1 <= matches <= MOST_MATCHES:
            continue
        seen.add(need)
        found.append(Request(f"composed-{len(found) + 1:02d}", kind, (text,), need))
    return found


def _compose(product: Product, rng: random.Random) -> tuple[Criteria, str, str]:
    need = Criteria((product.category,), (product.department,))
    details: list[str] = []
    kind = "attributes"
    if product.pattern != "solid":
        need = replace(need, patterns=(product.pattern,))
        details.append(rng.choice(wording.PATTERNS[product.pattern]))
    else:
        phrase, materials = _name(product.material, wording.MATERIALS, rng)
        need = replace(need, materials=materials)
        details.append("made of " + phrase)
    choice = rng.choice(("colour", "occasion", "store", "price"))
    if choice == "colour":
        phrase, colours = _name(product.colour, wording.COLOURS, rng)
        need = replace(need, colours=colours)
        details.append("in " + phrase)
    elif choice == "occasion":
        occasion = rng.choice(product.occasions)
        need = replace(need, occasions=(occasion,))
        details.append("for " + rng.choice(wording.OCCASIONS[occasion]))
    elif choice == "store" and product.stock:
        store_id = rng.choice(product.stock)[0]
        name = next(s.name for s in load_stores() if s.store_id == store_id)
        need, kind = replace(need, store=store_id), "stock"
        details.append(f"in stock at {name}")
    else:
        euros = -(-product.price_cents // 1000) * 10
        need, kind = replace(need, max_price_cents=euros * 100), "price"
        details.append(f"for at most {euros} euros")
    article = "" if product.category in _UNCOUNTED else "a "
    if product.category == "outdoor seat":
        article = "an "
    what = article + _OWNERS[product.department] + product.category
    text = rng.choice(_TEMPLATES).format(what=what, details=" ".join(details))
    return need, text[0].upper() + text[1:], kind


def _name(
    value: str, names: Mapping[str, tuple[str, ...]], rng: random.Random
) -> tuple[str, tuple[str, ...]]:
    """One of the names of an attribute value, and the values that it covers."""
    phrase = rng.choice(names[value])
    return phrase, _FAMILIES.get(phrase, (value,))
