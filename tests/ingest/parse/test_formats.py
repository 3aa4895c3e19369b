"""What each format's text, structure, title and metadata become."""

import csv
import gzip
import io
import json

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from ragstone.domain.document import ParsedDocument
from ragstone.domain.job import DocumentError
from ragstone.ingest.parse import is_readable_name
from tests.ingest.parse.samples import (
    HTML,
    JSON_LINES,
    MARKDOWN,
    TEXT,
    VALID,
    blocks,
    check_invariants,
    pdf,
    read,
    read_all,
    word,
)


@pytest.mark.parametrize("name", VALID)
def test_blocks_lie_on_the_text_in_order_and_cover_it(name: str) -> None:
    for document in read_all(name, VALID[name]()):
        assert isinstance(document, ParsedDocument)
        check_invariants(document)


def test_markdown_keeps_words_and_structure_and_drops_markup() -> None:
    document = read("docs/a.md", MARKDOWN)
    assert blocks(document) == [
        ("heading", "Returns policy"),
        ("paragraph", "You may return any item within 30 days."),
        ("list_item", "1. Open the app"),
        ("list_item", "- tap orders"),
        ("list_item", "2. Print the label"),
        ("table_header", "Size | Chest"),
        ("table_row", "Size: S; Chest: 86"),
        ("table_row", "Size: M; Chest: 92"),
        ("code", "x = 1"),
    ]
    assert document.external_id == "docs/a.md"
    assert document.title == "Returns"
    assert document.metadata == {
        "tags": ["policy", "2026"],
        "owner.name": "Ada",
        "owner.since": "2024-05-01",
    }


def test_markdown_reads_setext_headings_images_and_inline_html() -> None:
    text = (
        "Care\n====\n\nWash ![cold water](a.png) only.<br>Dry flat.\n\n"
        "Sizes\n-----\n\n<!-- note -->\n\n<table><tr><th>A</th><th>B</th></tr>"
        "<tr><td>1</td><td>2</td></tr></table>\n\n"
        'Seen <span style="display:none">unseen</span> again\n\n<div hidden>gone</div>\n'
    )
    document = read("care.md", text)
    assert blocks(document) == [
        ("heading", "Care"),
        ("paragraph", "Wash cold water only.\nDry flat."),
        ("heading", "Sizes"),
        ("table_header", "A | B"),
        ("table_row", "A: 1; B: 2"),
        ("paragraph", "Seen again"),
    ]
    assert [block.level for block in document.blocks if block.kind == "heading"] == [1, 2]
    assert document.title == "Care"


def test_a_rule_at_the_top_of_markdown_is_no_front_matter() -> None:
    assert read("a.md", "---\n\nOnly text.\n\n---\n\nMore.").text == "Only text.\n\nMore."


def test_toml_front_matter_is_metadata() -> None:
    document = read("a.md", '+++\ntitle = "T"\nweight = 3\n+++\nText.')
    assert (document.title, document.metadata) == ("T", {"weight": 3})


def test_wrapped_lines_become_one_and_short_lines_stay() -> None:
    wrapped = (
        "This sentence is wrapped by hand where the next\nword would not have fitted any more."
    )
    assert read("a.md", wrapped).text == wrapped.replace("\n", " ")
    assert read("a.txt", "Main Street 4\nDublin").text == "Main Street 4\nDublin"


def test_text_paragraphs_come_from_blank_lines_and_headings_from_capitals() -> None:
    document = read("a.txt", TEXT)
    assert blocks(document) == [
        ("heading", "RETURNS"),
        ("paragraph", "You may return any item that you bought within 30 days of delivery."),
        ("paragraph", "Second paragraph."),
    ]
    assert document.title == "RETURNS"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_in_every_marked_unicode_encoding(encoding: str) -> None:
    assert read("a.txt", "Größe: 38 €".encode(encoding)).text == "Größe: 38 €"


def test_a_title_is_made_from_the_name_when_the_file_has_none() -> None:
    assert read("care/wool_sweaters-2026.txt", "Wash cold.").title == "Wool sweaters 2026"


def test_html_keeps_the_main_content_and_nothing_hidden() -> None:
    document = read("a.html", HTML)
    assert blocks(document) == [
        ("heading", "Returns policy"),
        ("paragraph", "You may return any item within 30 days of delivery, unworn."),
        ("paragraph", "White on navy is a banner."),
        ("heading", "How to do it"),
        ("list_item", "1. Open the app"),
        ("list_item", "- tap orders"),
        ("list_item", "2. Print the label"),
        ("table_header", "Size | Chest"),
        ("table_row", "Size: S; Chest: 86"),
        ("table_row", "Size: S; Chest: 88"),
        ("code", "x = 1\ny = 2"),
    ]
    assert document.title == "Returns | Shop"
    assert document.metadata == {"author": "Ada", "language": "en"}


def test_html_too_short_for_main_content_detection_is_read_whole() -> None:
    assert read("a.html", "<p>Open daily.</p><ul><li>10 to 6</li></ul>").text == (
        "Open daily.\n\n- 10 to 6"
    )


def test_html_keeps_the_part_that_is_marked_as_main_where_detection_would_drop_it() -> None:
    items = "".join(f"<li><a href='/{n}'>Store {n}</a></li>" for n in range(30))
    page = f"<nav>Home</nav><main><h1>Stores</h1><ul>{items}</ul></main><footer>End</footer>"
    text = read("a.html", f"<html><body>{page}</body></html>").text
    assert "Store 29" in text
    assert "Home" not in text
    assert "End" not in text


def test_html_is_decoded_as_it_declares() -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Größe</p></body></html>'
    assert read("a.html", page.encode("latin-1")).text == "Größe"


def test_pdf_has_pages_headings_tables_and_whole_words() -> None:
    document = read("a.pdf", pdf())
    assert document.title == "Returns policy"
    assert document.blocks[0].kind == "heading"
    texts = dict.fromkeys(text for _, text in blocks(document))
    assert "A word at the end of its line is hyphenated here." in texts
    assert "White on navy" in texts
    assert "White on white" not in document.text
    assert [pair for pair in blocks(document) if pair[0].startswith("table")] == [
        ("table_header", "Size | Chest"),
        ("table_row", "Size: S; Chest: 86 cm"),
        ("table_row", "Size: M; Chest: 92 cm"),
    ]
    assert [block.page for block in document.blocks][-1] == 2
    assert {block.page for block in document.blocks[:-1]} == {1}
    assert blocks(document)[-1] == ("paragraph", "The second page.")


def test_docx_keeps_headings_lists_and_tables() -> None:
    document = read("a.docx", word())
    assert blocks(document) == [
        ("heading", "Returns policy"),
        ("paragraph", "Return it within 30 days"),
        ("list_item", "- tap orders"),
        ("list_item", "1. open"),
        ("list_item", "2. print"),
        ("table_header", "Size | Chest"),
        ("table_row", "Size: S; Chest: 86"),
    ]
    assert document.title == "Returns"


def test_docx_shows_tracked_changes_as_accepted() -> None:
    file = docx.Document()
    paragraph = file.add_paragraph("kept")
    for tag, text_tag, text in (("w:ins", "w:t", " added"), ("w:del", "w:delText", " removed")):
        change, run, content = OxmlElement(tag), OxmlElement("w:r"), OxmlElement(text_tag)
        content.text = text
        content.set(qn("xml:space"), "preserve")
        run.append(content)
        change.append(run)
        paragraph._p.append(change)
    stream = io.BytesIO()
    file.save(stream)
    assert read("a.docx", stream.getvalue()).text == "kept added"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_csv_row_can_be_understood_alone(delimiter: str) -> None:
    rows = [["id", "name", "note"], ["1", '"a, b; c|d\te"', '"two\nlines"'], ["2", "c", ""]]
    document = read("stock.csv", "\n".join(delimiter.join(row) for row in rows))
    assert blocks(document) == [
        ("table_row", "id: 1; name: a, b; c|d e; note: two lines"),
        ("table_row", "id: 2; name: c"),
    ]


def test_reading_a_csv_leaves_the_limits_of_other_csv_readers_alone() -> None:
    before = csv.field_size_limit()
    long = "x" * 1_000_000
    assert read("a.csv", f"a,b\n1,{long}\n").text.endswith(long)
    read("tiny.csv", "a,b\n1,2\n")
    assert csv.field_size_limit() == max(before, 2**31 - 1)
    assert [len(row[0]) for row in csv.reader([long])] == [len(long)]


def test_json_records_become_documents() -> None:
    first, second, third = read_all("r.jsonl", JSON_LINES)
    assert isinstance(first, ParsedDocument)
    assert (first.external_id, first.title, first.text) == ("a", "First", "One.\n\nTwo.")
    assert first.metadata == {"price": 3.5}
    assert isinstance(second, ParsedDocument)
    assert (second.external_id, second.title) == ("7", "Seven is a number.")
    assert second.metadata == {"colour": "red"}
    assert isinstance(third, ParsedDocument)
    assert third.external_id == "r.jsonl#3"
    assert read_all("r.jsonl.gz", gzip.compress(JSON_LINES.encode()))[:2] == [first, second]
    as_list = "[" + ",".join(JSON_LINES.splitlines()) + "]"
    assert read_all("r.json", as_list)[:2] == [first, second]


def test_a_single_json_record_without_id_is_called_after_its_file() -> None:
    assert read("a.json", '{"text": "x"}').external_id == "a.json"


def test_a_record_whose_text_is_blank_is_read_by_its_title() -> None:
    assert read("a.jsonl", '{"id": "1", "title": "Lip pencil", "text": " "}').text == "Lip pencil"


def test_other_json_becomes_lines_of_path_and_value() -> None:
    document = read("hours.json", '{"stores": [{"city": "Cork", "open": true}], "n": null}')
    assert document.text == "stores[0].city: Cork\nstores[0].open: true"


def test_a_bad_line_is_reported_and_the_others_go_on() -> None:
    lines = ['{"id": "1", "text": "ok"}', "{bad", "", '{"id": "2"}', '{"id": "1", "text": "b"}']
    items = read_all("r.jsonl", "\n".join([*lines, '{"id": "3", "text": ""}', "[1]"]))
    items += read_all("s.jsonl", b'\xff\n{"text": "last"}')
    errors = [item for item in items if isinstance(item, DocumentError)]
    assert len(items) - len(errors) == 2
    assert [(error.external_id, error.code) for error in errors] == [
        ("r.jsonl#2", "damaged_document"),
        ("r.jsonl#4", "damaged_document"),
        ("r.jsonl#5", "damaged_document"),
        ("3", "empty_document"),
        ("r.jsonl#7", "damaged_document"),
        ("s.jsonl#1", "undecodable_text"),
    ]
    assert "line 2," in errors[0].message
    assert "line 1" in errors[2].message


def test_metadata_is_flat_and_holds_only_scalars_and_lists() -> None:
    metadata = {
        "a": {"b": {"c": 1}},
        "mixed": [1, "x", True],
        "numbers": [1, 2.5],
        "none": None,
        "big": 10**30,
        "objects": [{"k": 1}],
        "empty": [],
        "flag": True,
    }
    document = read("a.json", json.dumps({"text": "x", "metadata": metadata}))
    assert document.metadata == {
        "a.b.c": 1,
        "mixed": ["1", "x", "true"],
        "numbers": [1.0, 2.5],
        "big": document.metadata["big"],
        "objects": ['{"k": 1}'],
        "flag": True,
    }
    assert not isinstance(document.metadata["big"], int)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<!-- x -->\n<html><body><p>hello</p></body></html>", "hello"),
        (b'{"text": "hello"}', "hello"),
        (b'{"text": "hello"}\n{"text": "again"}', "hello"),
        (b"hello", "hello"),
    ],
)
def test_a_file_without_a_known_ending_is_read_by_its_content(
    content: bytes, expected: str
) -> None:
    document = read_all("noending", content)[0]
    assert isinstance(document, ParsedDocument)
    assert document.text == expected


def test_pdf_and_docx_are_known_by_their_first_bytes() -> None:
    assert read("noending", pdf()).blocks[0].page == 1
    assert blocks(read("noending", word()))[0] == ("heading", "Returns policy")


def test_names_are_readable_by_their_ending() -> None:
    assert all(map(is_readable_name, ["a.md", "x/A.PDF", "r.jsonl.gz", "s.TSV"]))
    assert not any(map(is_readable_name, ["a.png", "md", "archive.gz", "x.md/y.exe"]))
