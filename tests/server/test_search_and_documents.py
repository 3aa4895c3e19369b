"""Passages, documents, jobs and collections over HTTP."""

import json
from typing import Any

import aiohttp
import pytest

from tests.server.conftest import CARE, POLICY, Running, Start


def _form(*files: tuple[str, bytes], collection: str = "help") -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("collection", collection)
    for name, content in files:
        form.add_field("file", content, filename=name, content_type="application/octet-stream")
    return form


async def _upload(running: Running, *files: tuple[str, bytes]) -> list[dict[str, Any]]:
    async with running.http.post("/v1/documents", data=_form(*files)) as response:
        assert response.status == 202
        assert response.headers["Location"].startswith("/v1/jobs/")
        jobs = (await response.json())["jobs"]
    return [await running.finished(job["id"]) for job in jobs]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_search_finds_the_passage_in_every_mode(server: Running, mode: str) -> None:
    body = {"query": "tumble dry wool coats", "mode": mode, "top_k": 1}
    status, found = await server.json("POST", "/v1/search", body)
    assert status == 200
    passage = found["passages"][0]
    assert passage["external_id"] == "care"
    assert passage["text"] == CARE[passage["start"] : passage["end"]]
    legs = {name for name in ("dense", "lexical") if passage["scores"][name] is not None}
    assert legs == ({"dense", "lexical"} if mode == "hybrid" else {mode})


async def test_filters_keep_only_what_they_name(server: Running) -> None:
    await server.ingest({"lamp": "A red lamp."}, collection="shop", metadata={"price": 30})
    await server.ingest({"rug": "A red rug."}, collection="shop", metadata={"price": 90})
    body = {"query": "red", "collection": "shop", "filters": [{"field": "price", "lte": 50}]}
    _, found = await server.json("POST", "/v1/search", body)
    assert [passage["external_id"] for passage in found["passages"]] == ["lamp"]


async def test_an_upload_becomes_documents_and_one_that_cannot_be_read_is_named(
    server: Running,
) -> None:
    good, bad = await _upload(
        server,
        ("guides/Sofa.md", b"# Sofas\n\nA sofa is collected from your home for 25 EUR."),
        ("notes/broken.txt", b"caf\xe9 au lait"),
    )
    assert good["state"] == "done"
    assert good["counts"]["added"] == 1
    assert bad["state"] == "failed"
    assert bad["errors"][0]["external_id"] == "notes/broken.txt"
    assert bad["errors"][0]["code"] == "undecodable_text"
    _, page = await server.json("GET", "/v1/documents?collection=help")
    ids = {document["external_id"] for document in page["documents"]}
    assert ids == {"guides/Sofa.md", "returns", "care"}


async def test_the_same_upload_again_changes_nothing(server: Running) -> None:
    file = ("sofa.md", b"# Sofas\n\nCollected for 25 EUR.")
    await _upload(server, file)
    _, before = await server.json("GET", "/v1/collections")
    [job] = await _upload(server, file)
    _, after = await server.json("GET", "/v1/collections")
    assert job["counts"]["unchanged"] == 1
    assert before == after


async def test_a_deleted_document_is_gone_at_once(server: Running) -> None:
    _, found = await server.json("POST", "/v1/search", {"query": "tumble dry wool"})
    document = found["passages"][0]["document_id"]
    assert (await server.json("DELETE", f"/v1/documents/{document}"))[0] == 200
    _, found = await server.json("POST", "/v1/search", {"query": "tumble dry wool"})
    assert document not in {passage["document_id"] for passage in found["passages"]}
    for method in ("GET", "DELETE"):
        status, answer = await server.json(method, f"/v1/documents/{document}")
        assert (status, answer["error"]["code"]) == (404, "unknown_document")


async def test_documents_are_listed_in_pages(server: Running) -> None:
    seen: list[str] = []
    after = ""
    while True:
        _, page = await server.json("GET", f"/v1/documents?collection=help&limit=1{after}")
        seen += [document["external_id"] for document in page["documents"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == ["care", "returns"]


async def test_a_collection_is_deleted_with_its_documents(server: Running) -> None:
    assert (await server.json("DELETE", "/v1/collections/help"))[0] == 200
    status, answer = await server.json("POST", "/v1/search", {"query": "x", "collection": "help"})
    assert (status, answer["error"]["code"]) == (404, "unknown_collection")
    await server.ingest({"returns": POLICY})
    _, found = await server.json("POST", "/v1/search", {"query": "wool coats"})
    assert {passage["external_id"] for passage in found["passages"]} == {"returns"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/documents/doc_nothing", "unknown_document"),
        ("DELETE", "/v1/documents/doc_nothing", "unknown_document"),
        ("GET", "/v1/jobs/job_nothing", "unknown_job"),
        ("DELETE", "/v1/collections/hepl", "unknown_collection"),
        ("GET", "/v1/documents?collection=hepl", "unknown_collection"),
        ("GET", "/v1/models/gpt", "model_not_found"),
        ("DELETE", "/v1/keys/key_nothing", "not_found"),
    ],
)
async def test_what_is_not_there_is_said_with_a_code(
    server: Running, method: str, path: str, code: str
) -> None:
    status, answer = await server.json(method, path)
    assert (status, answer["error"]["code"]) == (404, code)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"documents": []}, "documents"),
        ({"documents": [{"id": "", "text": "x"}]}, "id"),
        ({"documents": [{"id": "a"}]}, "text"),
        ({"documents": [{"id": "a", "text": "x"}], "collection": "../etc"}, "collection"),
        ({"documents": [{"id": "a", "text": "x"}], "access": ["everyone"]}, "everyone"),
        ({"documents": [{"id": "a", "text": "x", "metadata": {"a": {"b": 1}}}]}, "metadata"),
    ],
)
async def test_a_wrong_document_is_refused(
    server: Running, body: dict[str, Any], word: str
) -> None:
    status, answer = await server.json("POST", "/v1/documents", body)
    assert status == 400, answer
    assert word in answer["error"]["message"] + str(answer["error"]["param"])


async def test_an_upload_without_a_file_or_of_another_kind_is_refused(server: Running) -> None:
    async with server.http.post("/v1/documents", data=_form()) as response:
        assert response.status == 400
    async with server.http.post(
        "/v1/documents", data=b"x", headers={"Content-Type": "text/plain"}
    ) as response:
        assert response.status == 400
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    async with server.http.post("/v1/documents", data=b"junk", headers=broken) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (
            400,
            "invalid_request",
        )


async def test_an_oversize_file_is_refused_by_name_and_the_others_go_on(start: Start) -> None:
    running = await start(ingest={"max_file_bytes": 2_000})
    async with running.http.post(
        "/v1/documents", data=_form(("big.txt", b"x " * 1_500), ("small.txt", b"Small."))
    ) as response:
        answer = await response.json()
        assert response.status == 202, answer
    [small] = [await running.finished(job["id"]) for job in answer["jobs"]]
    assert (small["state"], small["source_name"]) == ("done", "small.txt")
    [refused] = answer["errors"]
    assert (refused["external_id"], refused["code"]) == ("big.txt", "payload_too_large")


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ([{"field": "price"}], "invalid_filter"),
        ([{"field": "price", "gte": 1}] * 17, "invalid_request"),
        ([{"field": "price", "any_of": [1] * 257}], "invalid_request"),
        ([{"field": "price", "none_of": [1] * 257}], "invalid_request"),
        ([{"field": "price", "any_of": [2**63]}], "invalid_request"),
        ([{"field": "price", "any_of": [-(2**64)]}], "invalid_request"),
        ([{"field": "price", "gte": 10**400}], "invalid_request"),
        ([{"field": "price", "any_of": ["x" * 1_001]}], "invalid_request"),
        ([{"field": "x" * 1_001, "gte": 1}], "invalid_request"),
    ],
)
async def test_filters_beyond_their_bounds_are_refused(
    server: Running, filters: list[dict[str, Any]], code: str
) -> None:
    await server.ingest({"lamp": "A red lamp."}, collection="shop", metadata={"price": 30})
    for path, asked in (("/v1/search", "query"), ("/v1/answers", "question")):
        body = aiohttp.BytesPayload(
            json.dumps({asked: "red", "collection": "shop", "filters": filters}).encode()
        )
        async with server.http.post(path, data=body) as response:
            answer = await response.json()
            assert (response.status, answer["error"]["code"]) == (400, code)


async def test_filters_at_their_bounds_are_taken(server: Running) -> None:
    await server.ingest({"lamp": "A red lamp."}, collection="shop", metadata={"price": 30})
    full = {"field": "price", "any_of": [30, 2**63 - 1, -(2**63), *range(253)]}
    body = {"query": "red", "collection": "shop", "filters": [full] * 16}
    status, found = await server.json("POST", "/v1/search", body)
    assert status == 200, found
    assert len(found["passages"]) == 1


async def test_an_estimate_says_what_would_be_done_and_does_nothing(server: Running) -> None:
    await _upload(server, ("care.md", CARE.encode()))
    form = _form(("care.md", CARE.encode()), ("new.md", b"# New\n\nA sentence."), ("bad.pdf", b"x"))
    async with server.http.post("/v1/documents?estimate=true", data=form) as response:
        assert response.status == 200
        found = await response.json()
    assert (found["documents"], found["unchanged"], found["nanodollars"]) == (2, 1, 0)
    assert found["chunks"] == 1
    assert found["tokens"] > 0
    assert [source["source_name"] for source in found["sources"]] == ["care.md", "new.md"]
    assert [error["external_id"] for error in found["errors"]] == ["bad.pdf"]
    _, listed = await server.json("GET", "/v1/documents?collection=help")
    assert "new.md" not in {document["external_id"] for document in listed["documents"]}
    status, refused = await server.json("POST", "/v1/documents?estimate=perhaps", {})
    assert (status, refused["error"]["code"]) == (400, "invalid_request")
