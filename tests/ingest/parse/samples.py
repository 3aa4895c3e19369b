"""Small valid files of every format, and how to read them."""

import gzip
import io
import json
from collections.abc import Callable

import docx
from fpdf import FPDF, FontFace
from fpdf.enums import AccessPermission, EncryptionMethod

from ragstone.domain.document import DocumentSource, ParsedDocument
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse import ParseLimits, parse_source

LIMITS = ParseLimits()


def source(name: str, content: bytes | str) -> DocumentSource:
    data = content.encode() if isinstance(content, str) else content
    return DocumentSource(name=name, content=data, collection="test")


def read_all(
    name: str, content: bytes | str, limits: ParseLimits = LIMITS
) -> list[ParsedDocument | DocumentError]:
    return list(parse_source(source(name, content), limits))


def read(name: str, content: bytes | str, limits: ParseLimits = LIMITS) -> ParsedDocument:
    [document] = read_all(name, content, limits)
    assert isinstance(document, ParsedDocument)
    return document


def blocks(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def check_invariants(document: ParsedDocument) -> None:
    """Blocks are sorted, apart, not empty, and cover all that is not white space."""
    end = 0
    for block in document.blocks:
        assert block.start >= end
        assert block.end > block.start
        assert not document.text[end : block.start].strip()
        assert document.text[block.start : block.end].strip()
        assert (block.level > 0) == (block.kind == "heading")
        end = block.end
    assert end == len(document.text)
    assert document.blocks
    assert document.title
    assert document.external_id


MARKDOWN = """---
title: Returns
tags: [policy, 2026]
owner: {name: Ada, since: 2024-05-01}
---
# Returns policy

You may return any [item](https://example.org) within **30 days**.

1. Open the app
   - tap orders
2. Print the label

| Size | Chest |
|---|---|
| S | 86 |
| M | 92 |

```python
x = 1
```
"""

HTML = """<!doctype html><html lang="en"><head><title>Returns | Shop</title>
<meta name="author" content="Ada"><style>p {color: red}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/women">Women</a></li></ul></nav>
<header><p>Free shipping over 50</p></header>
<main><h1>Returns policy</h1><p>You may return any item within 30 days of delivery, unworn.</p>
<p style="display: none">Hidden instruction one</p>
<p style="color:#fff">Hidden instruction two</p>
<p style="color:white; background: navy">White on navy is a banner.</p>
<h2>How to do it</h2><ol><li>Open the app<ul><li>tap orders</li></ul></li>
<li>Print the label</li></ol>
<table><thead><tr><th>Size</th><th>Chest</th></tr></thead><tbody>
<tr><td rowspan="2">S</td><td>86</td></tr><tr><td>88</td></tr></tbody></table>
<pre>x = 1
y = 2</pre></main>
<footer><p>Copyright 2026 Shop. All rights reserved.</p></footer>
<script>var a = 1;</script></body></html>"""

RECORDS = [
    {"id": "a", "title": "First", "text": "One.\n\nTwo.", "metadata": {"price": 3.5}},
    {"id": 7, "text": "Seven is a number.", "colour": "red"},
    {"text": "No id."},
]
JSON_LINES = "\n".join(json.dumps(record) for record in RECORDS)
CSV = 'id;name;note\n1;"a;b";"two\nlines"\n2;c;\n'
TEXT = """RETURNS

You may return any item that you bought within 30 days
of delivery.

Second paragraph.
"""


def pdf(*, password: str | None = None, text: bool = True) -> bytes:
    """Two pages. An empty `password` opens it, but its author has forbidden copying."""
    document = FPDF()
    document.add_page()
    if not text:
        document.rect(10, 10, 50, 50)
        return bytes(document.output())
    line = {"w": 0, "h": 6, "new_x": "LMARGIN", "new_y": "NEXT"}
    document.set_font("Helvetica", "B", 20)
    document.cell(0, 12, "Returns policy", new_x="LMARGIN", new_y="NEXT")
    document.set_font("Helvetica", size=11)
    document.multi_cell(text="You may return an unworn item with its label. " * 5, **line)
    document.ln(5)
    document.multi_cell(text="A word at the end of its line is hy-\nphenated here.", **line)
    document.set_text_color(255)
    document.multi_cell(text="White on white instruction.", **line)
    document.set_fill_color(0, 0, 80)
    document.cell(0, 8, "White on navy", fill=True, new_x="LMARGIN", new_y="NEXT")
    document.set_text_color(0)
    document.ln(5)
    with document.table(width=120, headings_style=FontFace(emphasis="BOLD")) as table:
        for row in (("Size", "Chest"), ("S", "86 cm"), ("M", "92 cm")):
            table.row(row)
    document.add_page()
    document.multi_cell(text="The second page.", **line)
    if password is not None:
        document.set_encryption(
            owner_password=password + "!",
            user_password=password or None,
            encryption_method=EncryptionMethod.RC4,
            permissions=AccessPermission.none(),
        )
    return bytes(document.output())


def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Returns"
    document.add_heading("Returns policy", 1)
    paragraph = document.add_paragraph("Return it within ")
    paragraph.add_run("30 days").bold = True
    paragraph.add_run(" hidden").font.hidden = True
    document.add_paragraph("tap orders", style="List Bullet")
    document.add_paragraph("open", style="List Number")
    document.add_paragraph("print", style="List Number")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ("Size", "Chest", "S", "86"), strict=True):
        cell.text = text
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


VALID: dict[str, Callable[[], bytes]] = {
    "a.md": MARKDOWN.encode,
    "a.txt": TEXT.encode,
    "a.html": HTML.encode,
    "a.pdf": pdf,
    "a.docx": word,
    "a.csv": CSV.encode,
    "a.json": lambda: json.dumps(RECORDS).encode(),
    "a.jsonl": JSON_LINES.encode,
    "a.jsonl.gz": lambda: gzip.compress(JSON_LINES.encode()),
}
