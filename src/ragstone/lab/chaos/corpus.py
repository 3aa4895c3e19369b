"""What is ingested and asked: two tenants whose documents differ in one word, their canary."""

from collections.abc import Callable
from itertools import product
from typing import Any, Final

from ragstone.lab.chaos.transcript import Ask

TENANTS: Final = ("acme", "globex")
CANARIES: Final = {"acme": "zyxacme", "globex": "qwvglobex"}
"""In every passage of the tenant, and nowhere else."""

_THINGS: Final = "coats boots lamps chairs bicycles kettles tents jackets".split()
_MATTERS: Final = "return delivery repair warranty washing".split()


def documents(tenant: str) -> list[dict[str, Any]]:
    """As `POST /v1/documents` takes them."""
    return [
        {"id": f"{thing}-{matter}", "title": f"{matter} of {thing}", "text": _text(tenant, *pair)}
        for pair in product(_THINGS, _MATTERS)
        for thing, matter in [pair]
    ]


def _text(tenant: str, thing: str, matter: str) -> str:
    canary = CANARIES[tenant]
    return (
        f"The {canary} rules on {matter} of {thing} hold for all stores. "
        f"Customers ask about {matter} of {thing} within 30 days and show the receipt. "
        f"A manager decides on {matter} of {thing} that were used, by the {canary} handbook."
    )


def asking(tenant: str = "acme", **fields: Any) -> Callable[[int], Ask]:
    """A client's questions by number, no two alike."""

    def ask(number: int) -> Ask:
        thing = _THINGS[number % len(_THINGS)]
        matter = _MATTERS[number // len(_THINGS) % len(_MATTERS)]
        question = f"What are the rules on {matter} of {thing} in case {number}?"
        return Ask(question=question, tenant=tenant, **fields)

    return ask
