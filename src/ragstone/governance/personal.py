"""Texts that name a person's own things: what may not be kept for others to be answered with.

It looks for shapes, not for meaning: addresses, phone, card and account numbers, and the numbers
of orders and customers. Too much is found rather than too little, since it only costs a cache
entry. Names and postal addresses have no shape and are not found. The time grows linearly with
the text: 8,000 characters take less than 5 ms whatever they are.
"""

import re
from typing import Final, Literal

PersonalKind = Literal["email", "card", "iban", "number", "reference"]
"""`number`: of a phone, an account, an identity card, an order. `reference`: named as one."""

_THREE_DIGITS: Final = re.compile(r"\d(?:\D*\d){2}")
"""What has fewer, as most texts, has no shape but an address's."""
_DOMAIN: Final = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_NUMBER: Final = re.compile(r"\d(?:[ \u00a0\u2010-\u2015().\-/]{0,3}\d)+")
"""Digits with the separators in which people write numbers."""
_DATE: Final = re.compile(
    r"\d{4}([./-])\d{1,2}\1\d{1,2}|\d{1,2}([./-])\d{1,2}\2(?:\d{4}|\d{2})|"
    r"(?:19|20)\d\d ?[\u2010-\u2015/-] ?(?:19|20)\d\d"
)
_IBAN: Final = re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}\b")
_CODE: Final = re.compile(r"#\s?\d{4,}|\b(?=[\d-]{0,20}[A-Za-z])(?:[A-Za-z-]{0,12}\d){5,20}")
"""`#12345`, and letters among at least five digits, such as `ORD-2024-17`."""
_NAMED: Final = re.compile(
    r"\b(?:order|customer|client|account|invoice|ticket|booking|reservation|tracking|policy|case|"
    r"member|patient|contract|claim|passport|licen[cs]e)"
    r"[\s:#-]{0,3}(?:(?:number|num|no|nr|id|ref|reference)\b\.?[\s:#-]{0,3})?(?:is\s)?"
    r"(?=[A-Za-z-]{0,6}\d)[\w-]{0,12}\d{3}",
    re.IGNORECASE,
)
_LEAST_DIGITS: Final = 7
"""Of a number that is somebody's: local phone numbers have seven."""


def personal_kind(text: str) -> PersonalKind | None:
    """What in `text` is somebody's own, or None."""
    if _has_email(text):
        return "email"
    if _THREE_DIGITS.search(text) is None:
        return None
    if any(_is_iban(match[0]) for match in _IBAN.finditer(text)):
        return "iban"
    for match in _NUMBER.finditer(text):
        digits = [int(sign) for sign in match[0] if sign.isdecimal()]
        if 13 <= len(digits) <= 19 and _luhn(digits):
            return "card"
        if len(digits) >= _LEAST_DIGITS and not _DATE.fullmatch(match[0]):
            return "number"
    if _CODE.search(text) or _NAMED.search(text):
        return "reference"
    return None


def is_personal(*texts: str) -> bool:
    """Whether any of the texts names somebody's own things."""
    return any(personal_kind(text) is not None for text in texts)


def _has_email(text: str) -> bool:
    at = -1
    text = text.replace("＠", "@")
    while (at := text.find("@", at + 1)) >= 0:
        before = text[at - 1 : at]
        if (before.isalnum() or before in tuple("._%+-\"'")) and _DOMAIN.match(text, at + 1):
            return True
    return False


def _is_iban(text: str) -> bool:
    """ISO 13616: the first four characters moved to the end, the rest modulo 97 is 1."""
    plain = text.replace(" ", "")
    number = "".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])
    return int(number) % 97 == 1


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B: the check digit of card numbers."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
