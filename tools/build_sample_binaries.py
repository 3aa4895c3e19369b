"""Build the DOCX and PDF files of the sample corpus from the texts in `tools/sample_sources`.

Run it after editing a source: `python tools/build_sample_binaries.py`. It needs python-docx and
fpdf2, which are used only here. Dates are fixed and DOCX members are repacked with a constant
timestamp, so the same library versions always give the same bytes.

The sources use a small part of Markdown: `#` and `##` headings, paragraphs, `-` lists and pipe
tables. `NAME.pdf.md` becomes `NAME.pdf`, `NAME.docx.md` becomes `NAME.docx`.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from fpdf import FPDF
from fpdf.fonts import FontFace

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tools" / "sample_sources"
TARGET = ROOT / "src" / "ragstone" / "sample" / "documents"
PUBLISHED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
ZIP_TIME = (2026, 3, 1, 9, 0, 0)
AUTHOR = "Tarn & Teasel"


@dataclass(frozen=True)
class Block:
    """One piece of a source: kind is `title`, `heading`, `paragraph`, `list` or `table`."""

    kind: str
    lines: list[str]

    def rows(self) -> list[list[str]]:
        """Cells of a table, header first, without the dashed line."""
        cells = [[c.strip() for c in line.strip("|").split("|")] for line in self.lines]
        return [cells[0], *cells[2:]]


def parse_blocks(source: str) -> Iterator[Block]:
    """Split a source at blank lines and name each block."""
    for raw in source.strip().split("\n\n"):
        lines = raw.strip().splitlines()
        first = lines[0]
        if first.startswith("## "):
            yield Block("heading", [first[3:]])
        elif first.startswith("# "):
            yield Block("title", [first[2:]])
        elif first.startswith("|"):
            yield Block("table", lines)
        elif first.startswith("- "):
            yield Block("list", [line[2:] for line in lines])
        else:
            yield Block("paragraph", [" ".join(lines)])


def build_docx(source: str) -> bytes:
    """Render a source as a Word document with real heading styles and tables."""
    document = Document()
    properties = document.core_properties
    properties.author = AUTHOR
    properties.created = properties.modified = PUBLISHED.replace(tzinfo=None)
    for block in parse_blocks(source):
        if block.kind == "title":
            properties.title = block.lines[0]
            document.add_heading(block.lines[0], level=1)
        elif block.kind == "heading":
            document.add_heading(block.lines[0], level=2)
        elif block.kind == "list":
            for line in block.lines:
                document.add_paragraph(line, style="List Bullet")
        elif block.kind == "table":
            rows = block.rows()
            table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
            for row, texts in zip(table.rows, rows, strict=True):
                for cell, text in zip(row.cells, texts, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(block.lines[0])
    buffer = io.BytesIO()
    document.save(buffer)
    return _repack(buffer.getvalue())


def _repack(archive: bytes) -> bytes:
    """Rewrite a ZIP with constant timestamps, in name order after the content types."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in sorted(source.namelist(), key=lambda n: (n != "[Content_Types].xml", n)):
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, source.read(name))
    return buffer.getvalue()


class Leaflet(FPDF):
    """An A5 leaflet with the page number at the foot."""

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font("Helvetica", size=8)
        self.cell(0, 6, f"Tarn & Teasel - page {self.page_no()}", align="C")


def build_pdf(source: str) -> bytes:
    """Render a source as an A5 PDF with an outline and a text layer."""
    pdf = Leaflet(format="A5")
    pdf.set_creation_date(PUBLISHED)
    pdf.set_author(AUTHOR)
    pdf.set_margin(16)
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.add_page()
    for block in parse_blocks(source):
        _draw(pdf, block)
    return bytes(pdf.output())


def _draw(pdf: FPDF, block: Block) -> None:
    if block.kind in {"title", "heading"}:
        level = 0 if block.kind == "title" else 1
        if level == 0:
            pdf.set_title(block.lines[0])
        elif pdf.will_page_break(26):
            pdf.add_page()
        pdf.start_section(block.lines[0], level=level)
        pdf.set_font("Helvetica", style="B", size=17 - 4 * level)
        pdf.multi_cell(0, 9, block.lines[0], align="L", new_x="LMARGIN", new_y="NEXT")
        pdf.ln(1)
        return
    pdf.set_font("Helvetica", size=10.5)
    if block.kind == "table":
        with pdf.table(
            block.rows(), text_align="LEFT", line_height=6, headings_style=FontFace(emphasis="BOLD")
        ):
            pass
    else:
        mark = "- " if block.kind == "list" else ""
        for line in block.lines:
            pdf.multi_cell(0, 5.6, mark + line, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(3)


def main() -> int:
    """Build every source; print name and size of each file written."""
    for source in sorted(SOURCES.rglob("*.md")):
        name = source.relative_to(SOURCES).with_suffix("")
        if name.suffix not in {".docx", ".pdf"}:
            continue
        build = build_docx if name.suffix == ".docx" else build_pdf
        target = TARGET / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(build(source.read_text(encoding="utf-8")))
        print(f"{name.as_posix()}: {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
