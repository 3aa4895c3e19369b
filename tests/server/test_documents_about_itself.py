"""Health, metrics, OpenAPI and the docs page."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ragstone.domain.errors import RagstoneError, StartupError
from ragstone.observe.metrics import Metrics
from ragstone.server.errors import status_of
from ragstone.server.openapi import openapi_document
from tests.server.conftest import Running, Start

GOLDEN = Path(__file__).parent / "golden" / "openapi.json"


async def test_ready_once_the_embedder_is_warm_and_the_index_open(server: Running) -> None:
    await server.system.warm_up()
    status, ready = await server.json("GET", "/health/ready")
    assert (status, ready["ready"]) == (200, True)
    server.system.is_warm = False
    status, ready = await server.json("GET", "/health/ready")
    assert (status, ready["ready"]) == (503, False)


async def test_metrics_count_requests_by_outcome(server: Running) -> None:
    await server.json("POST", "/v1/answers", {"question": "How many days to return items?"})
    await server.json("POST", "/v1/answers", {"question": ""})
    async with server.http.get("/metrics") as response:
        text = await response.text()
    assert 'rag_requests_total{app="none",outcome="error",route="/v1/answers"} 1.0' in text
    assert 'rag_stage_duration_seconds_count{stage="retrieve"} 1.0' in text
    assert "rag_ingest_chunks_total" in text
    assert 'rag_in_flight{dependency="answers"} 0.0' in text


def _with_subclasses(kind: type[RagstoneError]) -> Iterator[type[RagstoneError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _with_subclasses(each)


def test_every_code_is_listed_with_its_status() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for kind in _with_subclasses(RagstoneError):
        if kind.__module__ != RagstoneError.__module__ or issubclass(kind, StartupError):
            continue
        status, code = status_of(kind("It is so.")), f"`{kind.code}`"
        listed = [row.split("|")[1] for row in rows if code in row]
        assert any(str(status) in statuses for statuses in listed), (kind.code, status)


def test_every_metric_is_in_the_contract() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in page, family.name


async def test_no_metric_names_a_tenant_or_a_question(server: Running) -> None:
    await server.json("POST", "/v1/answers", {"question": "zanzibar?"})
    async with server.http.get("/metrics") as response:
        text = await response.text()
    assert "zanzibar" not in text
    assert "tenant" not in text


async def test_the_openapi_document_is_as_the_golden_file_holds_it(server: Running) -> None:
    _, served = await server.json("GET", "/openapi.json")
    assert served == json.loads(GOLDEN.read_text(encoding="utf-8")), (
        "the API has changed: write the file again with `make docs` and look at the difference"
    )


def test_every_schema_is_a_schema() -> None:
    document = openapi_document()
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name


async def test_an_answer_is_as_its_schema_says(server: Running) -> None:
    _, answer = await server.json("POST", "/v1/answers", {"question": "How many days?"})
    document = openapi_document()
    schema = {"$ref": "#/components/schemas/Answer", "components": document["components"]}
    Draft202012Validator(schema).validate(answer)


async def test_the_docs_page_names_every_path(server: Running) -> None:
    async with server.http.get("/docs") as response:
        page = await response.text()
        assert response.headers["Content-Security-Policy"]
    assert "<script" not in page
    for path in openapi_document()["paths"]:
        assert path in page


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b", "x" * 5_000, "🦊", "%2e%2e"])
async def test_strange_names_are_refused_without_a_trace_of_ours(start: Start, name: str) -> None:
    running = await start()
    body = {"query": "x", "collection": name}
    async with running.http.post("/v1/search", json=body) as response:
        text = await response.text()
        assert response.status in (400, 404)
        assert "Traceback" not in text
