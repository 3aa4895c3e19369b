"""The documents that the page's tests ask about, and what they expect to read."""

from typing import Final

RETURNS: Final = """Returning an item \N{WRAPPED PRESENT}\N{WRAPPED PRESENT}

You have thirty days to return an unworn item, counted from the day of delivery.

Refunds reach your account within five working days after the parcel has arrived.

Sale items can be returned to every shop, with the receipt."""

DELIVERY: Final = """Delivery

Standard delivery takes three working days and costs four euros.

""" + "\n\n".join(f"Region {n}: the courier calls before nine in the morning." for n in range(120))

DRESSES: Final = """Garden dress

A linen summer dress with a small floral print, for parties in the garden."""

DOCUMENTS: Final = {
    "help": {"returns.md": ("Returns", RETURNS), "delivery.md": ("Delivery", DELIVERY)},
    "products": {"dresses.md": ("Garden dress", DRESSES)},
}

QUESTION: Final = "How many days do I have to return an unworn item?"
EVIDENCE: Final = "You have thirty days to return an unworn item"
"""What an answer must say and the highlight must hold."""

PRODUCT_QUESTION: Final = "Which linen summer dress suits a garden party?"
