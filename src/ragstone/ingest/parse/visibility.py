"""Which elements of an HTML page nobody sees."""

import re

from lxml.html import HtmlElement  # type: ignore[import-untyped]

_NEVER_SHOWN = frozenset(
    "script style noscript template svg math iframe object embed canvas audio video "
    "head meta link button select input textarea dialog".split()
)
_HIDING_STYLE = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:0(?:\.0+)?(?:;|$|!)"
    r"|font-size:0(?:\.0+)?(?:px|pt|em|rem|%)?(?:;|$|!)"
    r"|(?:^|;)(?:left|top|text-indent|margin-left):-\d{3,}"
)
_WHITE = r"(?:white|#fff|#ffffff|rgba?\(255,255,255(?:,1)?\))(?:;|$|!)"
_WHITE_TEXT = re.compile(rf"(?:^|;)color:{_WHITE}")
_BACKGROUND = re.compile(r"(?:^|;)background(?:-color|-image)?:(?!none|transparent|inherit)")
_WHITE_BACKGROUND = re.compile(rf"(?:^|;)background(?:-color)?:{_WHITE}")
_TRANSPARENT_TEXT = re.compile(r"(?:^|;)color:(?:transparent|rgba\([\d,]+,0(?:\.0+)?\))(?:;|$|!)")


def drop_unseen(root: HtmlElement) -> None:
    """Remove scripts, controls, hidden elements and white-on-white text from the tree."""
    for element in list(root.iterdescendants()):
        if element.getparent() is None or element is root:
            continue
        if not isinstance(element.tag, str) or element.tag in _NEVER_SHOWN or is_hidden(element):
            element.drop_tree()


def is_hidden(element: HtmlElement) -> bool:
    """By its `hidden` attribute or its inline style; style sheets are not read."""
    if "hidden" in element.attrib and element.get("hidden") != "until-found":
        return True
    style = _style(element)
    if not style:
        return False
    if _HIDING_STYLE.search(style) or _TRANSPARENT_TEXT.search(style):
        return True
    return bool(_WHITE_TEXT.search(style)) and not _on_colour(element)


def _on_colour(element: HtmlElement) -> bool:
    """Whether the nearest background that is set inline is other than white."""
    current: HtmlElement | None = element
    while current is not None:
        style = _style(current)
        if _BACKGROUND.search(style):
            return _WHITE_BACKGROUND.search(style) is None
        colour = current.get("bgcolor", "").lower()
        if colour:
            return colour not in ("white", "#fff", "#ffffff")
        current = current.getparent()
    return False


def _style(element: HtmlElement) -> str:
    return re.sub(r"\s+", "", element.get("style", "")).lower()
