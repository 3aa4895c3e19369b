"""Keys, scopes, tenants and groups: nobody sees what they may not read."""

from typing import Any

import pytest

from ragstone.domain.errors import InsecureBind
from ragstone.domain.principal import Scope
from ragstone.governance.keys import new_key
from ragstone.server.run import check_bind
from tests.server.conftest import CARE, POLICY, Running, Start


async def _key(
    running: Running,
    *scopes: Scope,
    tenant: str = "default",
    user: str | None = None,
    groups: list[str] | None = None,
) -> str:
    secret, key = new_key(
        tenant=tenant,
        user=user,
        groups=groups or [],
        scopes=list(scopes or ("ask", "ingest")),
        label="",
        clock=running.system.clock,
    )
    await running.system.records.create_key(key)
    running.system.note_key_created()
    return secret


async def test_without_keys_only_this_machine_may_connect(server: Running) -> None:
    await check_bind(server.system, "127.0.0.1")
    await check_bind(server.system, "localhost")
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(InsecureBind):
            await check_bind(server.system, host)
    await _key(server)
    await check_bind(server.system, "0.0.0.0")


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
async def test_without_keys_pages_of_other_sites_are_refused(
    server: Running, headers: dict[str, str]
) -> None:
    async with server.http.get("/v1/collections", headers=headers) as response:
        assert response.status == 403


async def test_from_the_first_key_on_every_request_needs_one(server: Running) -> None:
    assert (await server.json("GET", "/v1/collections"))[0] == 200
    status, made = await server.json("POST", "/v1/keys", {"scopes": ["ask"], "label": "till"})
    assert status == 201
    status, refused = await server.json("GET", "/v1/collections")
    assert (status, refused["error"]["code"]) == (401, "unauthenticated")
    assert (await server.json("GET", "/v1/collections", key="rgs_wrong"))[0] == 401
    assert (await server.json("GET", "/v1/collections", key=made["secret"]))[0] == 200
    for path in ("/health/live", "/metrics"):
        async with server.http.get(path) as response:
            assert response.status == 200


async def test_a_key_is_made_with_a_priority_and_listed_with_it(server: Running) -> None:
    status, made = await server.json("POST", "/v1/keys", {"priority": "sheddable"})
    assert (status, made["key"]["priority"]) == (201, "sheddable")
    admin = await _key(server, "admin")
    _, listed = await server.json("GET", "/v1/keys", key=admin)
    assert [key["priority"] for key in listed["keys"]] == ["sheddable", None]
    status, refused = await server.json("POST", "/v1/keys", {"priority": "vip"}, key=admin)
    assert status == 400
    assert "priority" in refused["error"]["message"]


async def test_a_key_is_made_with_quotas_and_listed_with_them(server: Running) -> None:
    wanted = {"requests_per_minute": 60, "tokens_per_minute": 0}
    status, made = await server.json("POST", "/v1/keys", wanted)
    assert status == 201
    assert wanted.items() <= made["key"].items()
    admin = await _key(server, "admin")
    _, listed = await server.json("GET", "/v1/keys", key=admin)
    assert [key["requests_per_minute"] for key in listed["keys"]] == [60, None]
    assert [key["tokens_per_minute"] for key in listed["keys"]] == [0, None]
    status, refused = await server.json("POST", "/v1/keys", {"tokens_per_minute": -1}, key=admin)
    assert status == 400
    assert "tokens_per_minute" in refused["error"]["message"]


async def test_scopes_are_kept_apart(server: Running) -> None:
    ask = await _key(server, "ask")
    ingest = await _key(server, "ingest")
    admin = await _key(server, "admin")
    document = {"documents": [{"id": "a", "text": "x"}], "collection": "help"}
    assert (await server.json("POST", "/v1/documents", document, key=ask))[0] == 403
    assert (await server.json("POST", "/v1/documents", document, key=ingest))[0] == 202
    assert (await server.json("POST", "/v1/search", {"query": "x"}, key=ingest))[0] == 403
    assert (await server.json("POST", "/v1/keys", {}, key=ingest))[0] == 403
    assert (await server.json("POST", "/v1/search", {"query": "x"}, key=admin))[0] == 200


async def test_a_revoked_key_is_refused_and_the_server_does_not_fall_open(
    server: Running,
) -> None:
    admin = await _key(server, "admin")
    _, made = await server.json("POST", "/v1/keys", {}, key=admin)
    path = f"/v1/keys/{made['key']['id']}"
    assert (await server.json("DELETE", path, key=admin))[0] == 200
    assert (await server.json("GET", "/v1/collections", key=made["secret"]))[0] == 401
    _, keys = await server.json("GET", "/v1/keys", key=admin)
    for key in keys["keys"]:
        await server.system.records.revoke_key(key["id"])
    assert (await server.json("GET", "/v1/collections"))[0] == 401


async def test_only_the_local_operator_makes_keys_of_other_tenants(server: Running) -> None:
    admin = await _key(server, "admin")
    local = server.system.local_token
    status, made = await server.json("POST", "/v1/keys", {"tenant": "theirs"}, key=local)
    assert (status, made["key"]["tenant"]) == (201, "theirs")
    status, refused = await server.json("POST", "/v1/keys", {"tenant": "theirs"}, key=admin)
    assert (status, refused["error"]["code"]) == (403, "forbidden")
    path = f"/v1/keys/{made['key']['id']}"
    assert (await server.json("DELETE", path, key=admin))[0] == 404
    listed = [len((await server.json("GET", "/v1/keys", key=k))[1]["keys"]) for k in (admin, local)]
    assert listed == [1, 2]
    assert (await server.json("DELETE", path, key=local))[0] == 200


async def test_keys_are_listed_in_pages(server: Running) -> None:
    admin, local = await _key(server, "admin"), server.system.local_token
    for label in ("till", "shop", "site"):
        await server.json("POST", "/v1/keys", {"label": label}, key=admin)
    await server.json("POST", "/v1/keys", {"tenant": "theirs"}, key=local)
    _, whole = await server.json("GET", "/v1/keys", key=admin)
    assert (len(whole["keys"]), whole["next"]) == (4, None)
    _, first = await server.json("GET", "/v1/keys?limit=3", key=admin)
    assert first["keys"] == whole["keys"][:3]
    _, last = await server.json("GET", f"/v1/keys?limit=3&after={first['next']}", key=admin)
    assert last == {"keys": whole["keys"][3:], "next": None}
    _, theirs = await server.json("GET", "/v1/keys?tenant=theirs", key=local)
    assert [key["tenant"] for key in theirs["keys"]] == ["theirs"]
    assert (await server.json("GET", "/v1/keys?tenant=theirs", key=admin))[0] == 403
    for wrong in ("after=x", "limit=0"):
        status, refused = await server.json("GET", f"/v1/keys?{wrong}", key=admin)
        assert (status, refused["error"]["param"]) == (400, wrong.partition("=")[0])


async def test_secrets_are_never_listed(server: Running) -> None:
    admin = await _key(server, "admin")
    _, made = await server.json("POST", "/v1/keys", {"label": "till"}, key=admin)
    async with server.http.get(
        "/v1/keys", headers={"Authorization": f"Bearer {admin}"}
    ) as response:
        assert made["secret"] not in await response.text()


async def test_tenants_see_nothing_of_one_another(server: Running) -> None:
    ours = await _key(server, "admin", tenant="ours")
    theirs = await _key(server, "admin", tenant="theirs")
    await server.ingest({"secret": "The canary word is xyzzy."}, collection="vault", key=theirs)
    await server.ingest({"plain": "Nothing to see."}, collection="vault", key=ours)
    _, found = await server.json("POST", "/v1/search", {"query": "xyzzy", "collection": "vault"},
                                 key=theirs)  # fmt: skip
    document = found["passages"][0]["document_id"]
    _, jobs = await server.json("GET", "/v1/jobs", key=theirs)
    absent: list[Any] = []
    for path in (f"/v1/documents/{document}", f"/v1/jobs/{jobs['jobs'][0]['id']}"):
        status, other = await server.json("GET", path, key=ours)
        nothing = path.rsplit("/", 1)[0] + "/nothing"
        _, none = await server.json("GET", nothing, key=ours)
        assert status == 404
        absent.append(other["error"]["code"] == none["error"]["code"])
    assert all(absent)
    assert (await server.json("DELETE", f"/v1/documents/{document}", key=ours))[0] == 404
    for path, body in (
        ("/v1/search", {"query": "xyzzy canary", "collection": "vault"}),
        ("/v1/answers", {"question": "What is the canary word?", "collection": "vault"}),
    ):
        status, answer = await server.json("POST", path, body, key=ours)
        assert status == 200
        assert "xyzzy" not in str(answer)
    assert (await server.json("GET", "/v1/collections", key=ours))[1]["collections"][0][
        "document_count"
    ] == 1


async def test_groups_and_users_decide_within_a_tenant(server: Running) -> None:
    admin = await _key(server, "admin")
    staff = await _key(server, "ask", groups=["staff"])
    ann = await _key(server, "ask", user="ann")
    bob = await _key(server, "ask", user="bob", groups=["visitors"])
    await server.ingest({"rota": "The rota says plugh."}, access=["group:staff"], key=admin)
    await server.ingest({"letter": "Dear Ann, frobnicate."}, access=["user:ann"], key=admin)

    async def seen(key: str) -> set[str]:
        body = {"query": "plugh rota frobnicate letter", "collection": "help", "top_k": 50}
        _, found = await server.json("POST", "/v1/search", body, key=key)
        _, listed = await server.json("GET", "/v1/documents?collection=help", key=key)
        ids = {document["external_id"] for document in listed["documents"]}
        assert {passage["external_id"] for passage in found["passages"]} <= ids
        return ids - {"returns", "care"}

    assert await seen(staff) == {"rota"}
    assert await seen(ann) == {"letter"}
    assert await seen(bob) == set()


async def test_answers_are_not_shared_between_those_who_may_read_different_things(
    start: Start,
) -> None:
    server = await start()
    await server.ingest({"public": POLICY, "care": CARE})
    admin = await _key(server, "admin")
    staff = await _key(server, "ask", groups=["staff"])
    guest = await _key(server, "ask")
    await server.ingest(
        {"secret": "Within 90 days staff may return full-price items."},
        access=["group:staff"],
        key=admin,
    )
    body = {"question": "Within how many days may full-price items be returned?"}
    for _ in range(2):
        _, theirs = await server.json("POST", "/v1/answers", body, key=staff)
        _, ours = await server.json("POST", "/v1/answers", body, key=guest)
        assert "secret" in {p["external_id"] for p in theirs["passages"]}
        assert "90 days" not in str(ours)
