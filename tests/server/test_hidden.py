"""What a caller may not read does not show: not in counts, pages, jobs or forms of access."""

from ragstone.domain.principal import Scope
from ragstone.governance.keys import new_key
from tests.server.conftest import Running


async def _key(running: Running, *scopes: Scope, groups: list[str] | None = None) -> str:
    secret, key = new_key(
        tenant="default",
        user=None,
        groups=groups or [],
        scopes=list(scopes),
        label="",
        clock=running.system.clock,
    )
    await running.system.records.create_key(key)
    running.system.note_key_created()
    return secret


async def test_counts_over_unreadable_documents_are_for_admins(server: Running) -> None:
    ask, admin = await _key(server, "ask"), await _key(server, "admin")
    counts = []
    for key in (ask, admin):
        _, found = await server.json("GET", "/v1/collections", key=key)
        [one] = found["collections"]
        counts.append([one["document_count"], one["chunk_count"], one["generation"]])
    assert counts[0] == [None, None, None]
    assert counts[1][0] == 2


async def test_pages_are_full_and_tell_ids_of_readable_documents_only(server: Running) -> None:
    admin = await _key(server, "admin")
    guest = await _key(server, "ask")
    await server.ingest(
        {f"secret{i}": f"Secret {i}." for i in range(12)}, access=["group:board"], key=admin
    )
    await server.ingest({f"open{i}": f"Open {i}." for i in range(5)}, key=admin)
    for limit in (1, 2, 3, 7):
        seen: list[str] = []
        after = ""
        while True:
            path = f"/v1/documents?collection=help&limit={limit}{after}"
            _, page = await server.json("GET", path, key=guest)
            ids = [document["id"] for document in page["documents"]]
            names = [document["external_id"] for document in page["documents"]]
            assert ids
            seen += names
            if page["next"] is None:
                break
            assert page["next"] == ids[-1]
            assert len(ids) == limit
            after = f"&after={page['next']}"
        assert sorted(seen) == ["care", *(f"open{i}" for i in range(5)), "returns"]


async def test_only_admins_list_the_jobs_of_all(server: Running) -> None:
    ingest = await _key(server, "ingest")
    admin = await _key(server, "admin")
    await server.ingest({"mine": "Mine."}, key=ingest)  # looks at its own job by id
    status, refused = await server.json("GET", "/v1/jobs", key=ingest)
    assert (status, refused["error"]["code"]) == (403, "forbidden")
    assert (await server.json("GET", "/v1/jobs", key=admin))[0] == 200


async def test_access_is_shown_as_it_was_given(server: Running) -> None:
    admin = await _key(server, "admin", groups=["staff:x"])
    await server.ingest({"rota": "The rota."}, access=["group:staff:x", "user:ann"], key=admin)
    _, page = await server.json("GET", "/v1/documents?collection=help", key=admin)
    access = {document["external_id"]: document["access"] for document in page["documents"]}
    assert sorted(access["rota"]) == ["group:staff:x", "user:ann"]
    assert access["care"] == ["*"]
    [rota] = [d["id"] for d in page["documents"] if d["external_id"] == "rota"]
    _, shown = await server.json("GET", f"/v1/documents/{rota}", key=admin)
    assert sorted(shown["document"]["access"]) == ["group:staff:x", "user:ann"]


async def test_the_text_of_an_unreadable_document_is_not_even_fetched(server: Running) -> None:
    admin = await _key(server, "admin", groups=["staff"])
    guest = await _key(server, "ask")
    await server.ingest({"rota": "The rota."}, access=["group:staff"], key=admin)
    _, page = await server.json("GET", "/v1/documents?collection=help", key=admin)
    [rota] = [d["id"] for d in page["documents"] if d["external_id"] == "rota"]
    fetched: list[str] = []
    records = server.system.records
    original = type(records).document_text

    async def noting(self: object, tenant: str, document_id: str) -> str | None:
        fetched.append(document_id)
        return await original(records, tenant, document_id)

    type(records).document_text = noting  # type: ignore[method-assign]
    try:
        assert (await server.json("GET", f"/v1/documents/{rota}", key=guest))[0] == 404
        assert fetched == []
        assert (await server.json("GET", f"/v1/documents/{rota}", key=admin))[0] == 200
        assert fetched == [rota]
    finally:
        type(records).document_text = original  # type: ignore[method-assign]


async def test_metrics_are_for_this_machine_and_for_admins(server: Running) -> None:
    async def status(key: str = "", **headers: str) -> int:
        if key:
            headers["Authorization"] = f"Bearer {key}"
        async with server.http.get("/metrics", headers=headers) as response:
            return response.status

    assert await status() == 200
    assert await status(Host="evil.example") == 403
    ask, admin = await _key(server, "ask"), await _key(server, "admin")
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    assert await status() == 200
    assert await status(**elsewhere) == 401
    assert await status(Host="ragstone.example") == 401
    assert await status(ask, **elsewhere) == 403
    assert await status(admin, **elsewhere) == 200
