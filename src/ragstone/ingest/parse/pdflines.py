"""The lines of a PDF page, with where they stand and how large they are."""

import ctypes
import itertools
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

_NEARLY_WHITE = 245
_FAINTEST = 12
"""Of 255: text whose surroundings differ less than this from it cannot be seen."""
_SMALLEST = 1.5
"""Points; smaller text cannot be read, only extracted."""
_HYPHENS = frozenset({"\x02", "\ufffe"})
"""How PDFium writes a hyphen at the end of a line."""
WORD_GOES_ON = "\u00ad"
"""Ends a line whose last word goes on in the next (a soft hyphen)."""
_Character = tuple[int, str]
"""PDFium's index of it, and what it is."""


class Word(NamedTuple):
    """A word, and how far it reaches; in points from the page's left edge."""

    text: str
    left: float
    right: float


class Line(NamedTuple):
    """One line of text; positions in points from the page's lower left corner."""

    text: str
    words: tuple[Word, ...]
    left: float
    right: float
    top: float
    height: float
    """Height of its characters: the font's size times its line spacing."""
    page: int
    """From 1."""


class _Box(NamedTuple):
    left: float
    bottom: float
    right: float
    top: float


def page_lines(page: Any, number: int) -> list[Line]:
    """The lines that a reader can see, in the order of the page's content."""
    text_page = page.get_textpage()
    try:
        sight = _Sight(page, text_page)
        return [
            line
            for characters in _line_spans(text_page, text_page.count_chars())
            if (line := _measured(text_page, characters, number, sight)) is not None
        ]
    finally:
        text_page.close()


def _line_spans(text_page: Any, count: int) -> Iterator[list[_Character]]:
    """The characters of each line."""
    line: list[_Character] = []
    for index in range(count):
        code = pdfium_c.FPDFText_GetUnicode(text_page, index)
        character = chr(code) if 0 < code <= 0x10FFFF else ""
        if character in _HYPHENS and line:
            line.append((index, WORD_GOES_ON))
        if character in ("\r", "\n") or character in _HYPHENS:
            if line:
                yield line
            line = []
        elif character:
            line.append((index, character))
    if line:
        yield line


def _measured(
    text_page: Any, characters: list[_Character], number: int, sight: "_Sight"
) -> Line | None:
    shown = [index for index, text in characters if not text.isspace() and text != WORD_GOES_ON]
    if not shown:
        return None
    # The ends and a few between: enough for a line's geometry, at a fraction of the calls.
    sample = [*shown[:: max(1, len(shown) // 8)], shown[-1]]
    boxes = [box for index in sample if (box := _box(text_page, index)) is not None]
    if not boxes:
        return None
    height = statistics.median(box.top - box.bottom for box in boxes)
    extent = _Box(
        min(box.left for box in boxes),
        min(box.bottom for box in boxes),
        max(box.right for box in boxes),
        max(box.top for box in boxes),
    )
    if height < _SMALLEST or not sight.shows(shown, extent):
        return None
    return Line(
        text="".join(text for _, text in characters),
        words=tuple(_words(text_page, characters)),
        left=extent.left,
        right=extent.right,
        top=extent.top,
        height=height,
        page=number,
    )


def _words(text_page: Any, characters: list[_Character]) -> Iterator[Word]:
    """What stands between spaces, as far as PDFium knows where it is."""
    for is_space, run in itertools.groupby(characters, key=lambda item: item[1].isspace()):
        word = list(run)
        if is_space:
            continue
        first, last = _box(text_page, word[0][0]), _box(text_page, word[-1][0])
        if first is not None and last is not None:
            yield Word("".join(text for _, text in word), first.left, last.right)


def _box(text_page: Any, index: int) -> _Box | None:
    rectangle = pdfium_c.FS_RECTF()
    if not pdfium_c.FPDFText_GetLooseCharBox(text_page, index, rectangle):
        return None
    return _Box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)


class _Sight:
    """Decides whether text can be seen.

    Only for text in a colour close to white is the page painted, once, to look whether there is
    anything but paper: white on a dark ground is a title, white on white a trick.
    """

    def __init__(self, page: Any, text_page: Any) -> None:
        self._page = page
        self._text_page = text_page
        self._edges = _Box(*page.get_bbox())
        self._painted: Any = None

    def shows(self, indices: list[int], extent: _Box) -> bool:
        edges = self._edges
        if extent.right <= edges.left or extent.left >= edges.right:
            return False
        if extent.top <= edges.bottom or extent.bottom >= edges.top:
            return False
        sample = indices[:: max(1, len(indices) // 4)]
        if not all(self._is_pale(index) for index in sample):
            return True
        return self._contrast(extent) >= _FAINTEST

    def _is_pale(self, index: int) -> bool:
        channels = [ctypes.c_uint(0) for _ in range(4)]
        if not pdfium_c.FPDFText_GetFillColor(self._text_page, index, *channels):
            return False
        red, green, blue, alpha = (channel.value for channel in channels)
        return alpha < 255 - _NEARLY_WHITE or min(red, green, blue) >= _NEARLY_WHITE

    def _contrast(self, extent: _Box) -> int:
        """Lightest less darkest grey within `extent`, of 255."""
        if self._painted is None:
            self._painted = self._page.render(scale=1, grayscale=True)
        image = self._painted
        left = max(0, int(extent.left - self._edges.left))
        right = min(image.width, int(extent.right - self._edges.left) + 1)
        top = max(0, int(self._edges.top - extent.top))
        bottom = min(image.height, int(self._edges.top - extent.bottom) + 1)
        pixels = memoryview(image.buffer).cast("B")
        rows = [
            bytes(pixels[row * image.stride + left : row * image.stride + right])
            for row in range(top, bottom)
        ]
        values = b"".join(rows)
        return max(values) - min(values) if values else 0


def open_pdf(content: bytes) -> Any:
    """A pypdfium2 document. Raises `pypdfium2.PdfiumError`."""
    return pdfium.PdfDocument(content)
