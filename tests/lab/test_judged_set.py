"""Faults in evaluation files are named by file and line."""

from pathlib import Path

import pytest

from ragstone.domain.errors import InvalidRequest
from ragstone.lab.judged_set import JudgedQuery, JudgedSet, read_judged_set

QUERIES = '{"id": "q1", "text": "silk"}\n{"id": "q2", "text": "wool"}\n'
QRELS = "query_id\tdocument_id\tgrade\nq1\td1\t2\nq1\td2\t0\nq2\td1\t0\n"


def read(folder: Path, queries: str | bytes = QUERIES, qrels: str | bytes = QRELS) -> JudgedSet:
    for name, content in (("queries.jsonl", queries), ("qrels.tsv", qrels)):
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)
    return read_judged_set(folder / "queries.jsonl", folder / "qrels.tsv")


def refusal(folder: Path, **files: str | bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(folder, **files)
    assert caught.value.remedy
    return caught.value


def test_a_query_without_a_relevant_document_is_left_out_and_counted(tmp_path: Path) -> None:
    judged = read(tmp_path)
    assert judged.queries == [JudgedQuery("q1", "silk")]
    assert judged.judgments == {"q1": {"d1": 2, "d2": 0}}
    assert judged.unjudged == 1


def test_fields_that_are_not_needed_are_left_alone(tmp_path: Path) -> None:
    judged = read(tmp_path, queries='{"id": "q1", "text": "silk", "metadata": {"kind": "x"}}\n')
    assert [query.id for query in judged.queries] == ["q1"]


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    judged = read(
        tmp_path,
        queries=b"\xef\xbb\xbf" + QUERIES.replace("\n", "\r\n\r\n").encode(),
        qrels=b"\xef\xbb\xbf" + QRELS.replace("\n", "\r\n").encode(),
    )
    assert judged == read(tmp_path)


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    judged = read(tmp_path, queries='{"id": "q1", "text": "silk\u2028care\x85"}\n')
    assert judged.queries[0].text == "silk\u2028care\x85"


@pytest.mark.parametrize("missing", ["queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named_once(tmp_path: Path, missing: str) -> None:
    read(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InvalidRequest) as caught:
        read_judged_set(tmp_path / "queries.jsonl", tmp_path / "qrels.tsv")
    assert (
        caught.value.message == f"{tmp_path / missing} cannot be read: No such file or directory."
    )


@pytest.mark.parametrize("name", ["queries", "qrels"])
def test_text_that_is_not_utf_8_is_refused(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path, **{name: b"query_id\xff"})
    assert error.field == name
    assert "not UTF-8 text (byte 8)" in error.message


@pytest.mark.parametrize(
    ("second_line", "problem"),
    [
        ("{bad", "malformed"),
        ('{"id": "q2"}', "`text`"),
        ('{"id": 2, "text": "wool"}', "Expected `str`"),
        ('{"id": "q2", "text": " "}', "the text is empty"),
        ('{"id": "q1", "text": "wool"}', "'q1' has occurred before"),
    ],
)
def test_a_bad_query_is_named_by_its_line(tmp_path: Path, second_line: str, problem: str) -> None:
    error = refusal(tmp_path, queries='{"id": "q1", "text": "silk"}\n' + second_line)
    assert error.message.startswith(f"{tmp_path / 'queries.jsonl'}, line 2: ")
    assert problem in error.message
    assert error.field == "queries"


@pytest.mark.parametrize("content", ["", "q1\td1\t1\n", "query_id document_id grade\n"])
def test_qrels_without_the_header_are_refused(tmp_path: Path, content: str) -> None:
    error = refusal(tmp_path, qrels=content)
    assert "does not begin with the line query_id document_id grade" in error.message


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("q1\td2", "expected three fields, found 2"),
        ("q1\t0\td2\t1", "expected three fields, found 4"),
        ("q1 d2 1", "expected three fields, found 1"),
        ("q1\td2\thigh", "the grade is 'high'"),
        ("q1\td2\t1.0", "the grade is '1.0'"),
        ("q1\td2\t1000000000", "the grade is '1000000000'"),
        ("q1\td1\t1", "'d1' has another grade for 'q1' further up"),
    ],
)
def test_a_bad_judgment_is_named_by_its_line(tmp_path: Path, row: str, problem: str) -> None:
    error = refusal(tmp_path, qrels=f"query_id\tdocument_id\tgrade\nq1\td1\t2\n\n{row}\n")
    assert error.message.startswith(f"{tmp_path / 'qrels.tsv'}, line 4: ")
    assert problem in error.message
    assert error.field == "qrels"


def test_files_about_different_queries_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, qrels="query_id\tdocument_id\tgrade\nother\td1\t1\n")
    assert "No query of" in error.message
    assert "same query ids" in (error.remedy or "")
