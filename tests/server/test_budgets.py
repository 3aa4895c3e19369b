"""Budgets and usage over HTTP: what is set, seen and summed, and by whom."""

import csv
import io
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest

from ragstone.domain.budget import Account, AccountReport, LedgerReport, UsageRow, Want
from ragstone.domain.usage import Usage
from ragstone.governance.keys import new_key
from tests.server.conftest import Running

CENT = 10_000_000


async def _admin(running: Running, tenant: str = "default", scope: str = "admin") -> str:
    secret, key = new_key(
        tenant=tenant,
        user=None,
        groups=[],
        scopes=[scope],  # type: ignore[list-item]
        label="",
        clock=running.system.clock,
    )
    await running.system.records.create_key(key)
    running.system.note_key_created()
    return secret


async def _spend(running: Running, account: Account, tenant: str = "default") -> None:
    """7 cents settled and 3 outstanding."""
    budgets = running.system.budgets
    want = Want(account=account, tenant=tenant, least=1, most=10 * CENT)
    await budgets.lease("h1", [want], seconds=600)
    report = LedgerReport(
        holder="h1", sequence=1, accounts=[AccountReport(account, 7 * CENT, 0)], usage=[]
    )
    await budgets.report(report, seconds=600)


async def _used(running: Running, *rows: UsageRow) -> None:
    report = LedgerReport(holder="h2", sequence=1, accounts=[], usage=list(rows))
    await running.system.budgets.report(report, seconds=600)


def _row(running: Running, hours_ago: float = 0, **names: Any) -> UsageRow:
    given: dict[str, Any] = {
        "tenant": "default",
        "application": "assistant",
        "model": "small",
        "key_id": "",
        "user": "",
        **names,
    }
    return UsageRow(
        hour=int(running.system.clock.time() - hours_ago * 3600),
        questions=2,
        cached=1,
        usage=Usage(input_tokens=1_000, output_tokens=50),
        nanodollars=3 * CENT,
        saved_nanodollars=CENT,
        **given,
    )


async def test_a_budget_is_set_seen_changed_and_removed(server: Running) -> None:
    wanted = {"scope": "app", "name": "ragstone", "limit": "50", "hard_limit": 60.5}
    status, made = await server.json("PUT", "/v1/budgets", wanted)
    assert status == 200
    assert (made["scope"], made["name"], made["period"]) == ("application", "ragstone", "month")
    assert made["limit"] == {"dollars": "50.00", "nanodollars": 50_000_000_000}
    assert made["hard_limit"]["dollars"] == "60.50"
    status, changed = await server.json("PUT", "/v1/budgets", {**wanted, "limit": 40})
    assert (changed["id"], changed["limit"]["dollars"]) == (made["id"], "40.00")
    assert changed["created_at"] == made["created_at"] < changed["updated_at"]
    status, found = await server.json("GET", "/v1/budgets")
    (line,) = found["budgets"]
    (standing,) = line.pop("standing")
    assert line == changed
    assert (standing["share"], standing["left"]["dollars"]) == (0.0, "40.00")
    assert await server.json("DELETE", f"/v1/budgets/{made['id']}") == (
        200,
        {"deleted": made["id"]},
    )
    status, gone = await server.json("DELETE", f"/v1/budgets/{made['id']}")
    assert (status, gone["error"]["code"]) == (404, "unknown_budget")
    assert (await server.json("GET", "/v1/budgets"))[1] == {"budgets": [], "next": None}


async def test_a_tenant_has_no_more_budgets_than_the_setting_says(server: Running) -> None:
    few = server.system.settings.budgets.model_copy(update={"most_per_tenant": 2})
    server.system.settings = server.system.settings.model_copy(update={"budgets": few})
    wanted = {"scope": "user", "limit": 5}
    for name in ("*", "ann"):
        assert (await server.json("PUT", "/v1/budgets", {**wanted, "name": name}))[0] == 200
    status, refused = await server.json("PUT", "/v1/budgets", {**wanted, "name": "bob"})
    assert (status, refused["error"]["code"]) == (409, "too_many_budgets")
    assert "budgets.most_per_tenant" in refused["error"]["remedy"]
    changed = {**wanted, "name": "ann", "limit": 6}
    assert (await server.json("PUT", "/v1/budgets", changed))[0] == 200
    others = {**wanted, "name": "bob", "tenant": "other"}
    assert (await server.json("PUT", "/v1/budgets", others))[0] == 200


async def test_how_a_budget_stands_is_told_for_each_who_spent(server: Running) -> None:
    wanted = {"scope": "user", "name": "*", "limit": "0.2", "period": "day", "hard_limit": "0.2"}
    _, made = await server.json("PUT", "/v1/budgets", wanted)
    (unspent,) = (await server.json("GET", "/v1/budgets"))[1]["budgets"][0]["standing"]
    assert unspent["name"] == ""
    await _spend(server, Account(made["id"], "ann", unspent["period_start"], "limit"))
    (ann,) = (await server.json("GET", "/v1/budgets"))[1]["budgets"][0]["standing"]
    assert ann["name"] == "ann"
    assert ann["settled"] == {"dollars": "0.07", "nanodollars": 7 * CENT}
    assert ann["outstanding"]["dollars"] == "0.03"
    assert (ann["left"]["dollars"], ann["share"]) == ("0.10", 0.5)
    assert ann["hard_settled"]["dollars"] == "0.00"
    assert ann["period_end"] - ann["period_start"] == 86_400


async def test_how_budgets_stand_is_told_in_pages(server: Running) -> None:
    wanted = {"scope": "user", "name": "*", "limit": "0.2", "period": "day"}
    _, each = await server.json("PUT", "/v1/budgets", wanted)
    await server.json("PUT", "/v1/budgets", {**wanted, "name": "ann"})
    _, all_of_them = await server.json("GET", "/v1/budgets")
    start = all_of_them["budgets"][0]["standing"][0]["period_start"]
    names = [f"user/{number}?&" for number in range(5)]
    for name in names:
        await _spend(server, Account(each["id"], name, start, "limit"))
    told, following = [], "?limit=2"
    while True:
        _, page = await server.json("GET", f"/v1/budgets{following}")
        told.append([line["name"] for each in page["budgets"] for line in each["standing"]])
        if page["next"] is None:
            break
        following = f"?limit=2&after={page['next']}"
    assert told == [names[:2], names[2:4], [names[4], "ann"]]


@pytest.mark.parametrize("query", ["after=x", "after=kaFh", "after=%00%ff", "limit=0", "limit=x"])
async def test_pages_that_are_none_are_refused(server: Running, query: str) -> None:
    status, refused = await server.json("GET", f"/v1/budgets?{query}")
    assert (status, refused["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("missing", ["scope", "limit"])
async def test_what_a_budget_lacks_is_named(server: Running, missing: str) -> None:
    wanted = {"scope": "tenant", "limit": 5}
    del wanted[missing]
    status, refused = await server.json("PUT", "/v1/budgets", wanted)
    error = refused["error"]
    assert (status, error["param"]) == (400, missing)
    assert error["message"] == f"The request does not say its `{missing}`."


async def test_budgets_of_tokens_are_whole_numbers(server: Running) -> None:
    wanted = {"scope": "tenant", "limit": 1_000_000, "unit": "tokens"}
    status, made = await server.json("PUT", "/v1/budgets", wanted)
    assert (status, made["unit"], made["limit"]) == (200, "tokens", {"tokens": 1_000_000})
    assert made["hard_limit"] is None


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"limit": 0}, "limit", "above 0"),
        ({"limit": "-5"}, "limit", "above 0"),
        ({"limit": "NaN"}, "limit", "above 0"),
        ({"limit": "Infinity"}, "limit", "above 0"),
        ({"limit": "1e12"}, "limit", "at most 1,000,000,000"),
        ({"limit": "0.0000000001"}, "limit", "nine decimals"),
        ({"limit": "many"}, "limit", "above 0"),
        ({"limit": "9E+999999"}, "limit", "at most 1,000,000,000"),
        ({"limit": "1E-999999"}, "limit", "nine decimals"),
        ({"limit": "sNaN"}, "limit", "above 0"),
        ({"limit": "9" * 500}, "limit", "above 0"),
        ({"limit": "0.1234567890000000000000000000000000001"}, "limit", "above 0"),
        ({"limit": "0.12345678900000000000000001"}, "limit", "nine decimals"),
        ({"limit": None}, "limit", "limit"),
        ({"limit": 1.5, "unit": "tokens"}, "limit", "whole tokens"),
        ({"hard_limit": "49.99"}, "hard_limit", "below the limit 50"),
        ({"scope": "usr"}, "scope", "Did you mean 'user'?"),
        ({"period": "week"}, "period", "day, month"),
        ({"unit": "dollar"}, "unit", "Did you mean 'dollars'?"),
        ({"name": ""}, "name", "for which user"),
        ({"scope": "tenant"}, "name", "Leave `name` out"),
        ({"scope": "key", "name": "key_none"}, "name", "There is no key 'key_none'"),
        ({"scope": "app", "name": "ragston"}, "name", "Did you mean 'ragstone'?"),
        ({"name": "x" * 201}, "name", "200"),
        ({"surprise": 1}, "surprise", "surprise"),
    ],
)
async def test_a_budget_that_cannot_be_is_refused_in_a_clear_sentence(
    server: Running, change: dict[str, Any], field: str, words: str
) -> None:
    wanted = {"scope": "user", "name": "ann", "limit": "50", **change}
    status, refused = await server.json("PUT", "/v1/budgets", wanted)
    error = refused["error"]
    assert (status, error["code"], error["param"]) == (400, "invalid_request", field)
    assert words in f"{error['message']} {error['remedy']}"
    assert (await server.json("GET", "/v1/budgets"))[1] == {"budgets": [], "next": None}


async def test_a_key_manages_the_budgets_of_its_own_tenant(server: Running) -> None:
    wanted = {"scope": "user", "name": "*", "limit": 5}
    _, other = await server.json("PUT", "/v1/budgets", {**wanted, "tenant": "other"})
    await _used(server, _row(server), _row(server, tenant="other"))
    both = (await server.json("GET", "/v1/usage?by=tenant"))[1]["lines"]
    assert {line["by"] for line in both} == {"default", "other"}  # the operator sees everybody's
    key = await _admin(server)
    status, own = await server.json("PUT", "/v1/budgets", {**wanted, "tenant": "default"}, key=key)
    assert status == 200
    seen = (await server.json("GET", "/v1/budgets", key=key))[1]["budgets"]
    assert [line["id"] for line in seen] == [own["id"]]
    assert (await server.json("DELETE", f"/v1/budgets/{other['id']}", key=key))[0] == 404
    lines = (await server.json("GET", "/v1/usage?by=tenant", key=key))[1]["lines"]
    assert [line["by"] for line in lines] == ["default"]
    for method, path, body in (
        ("PUT", "/v1/budgets", {**wanted, "tenant": "other"}),
        ("GET", "/v1/budgets?tenant=other", None),
        ("GET", "/v1/usage?tenant=other", None),
    ):
        assert (await server.json(method, path, body, key=key))[0] == 403
    asking = await _admin(server, scope="ask")
    for path in ("/v1/budgets", "/v1/usage"):
        assert (await server.json("GET", path, key=asking))[0] == 403


async def test_a_key_cannot_change_what_its_whole_tenant_may_spend(server: Running) -> None:
    wanted = {"scope": "tenant", "limit": 5}
    _, whole = await server.json("PUT", "/v1/budgets", wanted)
    key = await _admin(server)
    for method, path, body in (
        ("PUT", "/v1/budgets", {**wanted, "limit": 5_000}),
        ("PUT", "/v1/budgets", {**wanted, "period": "day"}),
        ("DELETE", f"/v1/budgets/{whole['id']}", None),
    ):
        status, refused = await server.json(method, path, body, key=key)
        assert (status, refused["error"]["code"]) == (403, "forbidden")
        assert "whole tenant" in refused["error"]["message"]
    within = {"scope": "user", "name": "ann", "limit": 50}
    status, own = await server.json("PUT", "/v1/budgets", within, key=key)
    assert status == 200
    assert (await server.json("DELETE", f"/v1/budgets/{own['id']}", key=key))[0] == 200
    operator = server.system.local_token
    assert (await server.json("DELETE", f"/v1/budgets/{whole['id']}", key=operator))[0] == 200


async def test_the_operator_may_name_a_tenant(server: Running) -> None:
    await _used(server, _row(server), _row(server, tenant="other"))
    _, found = await server.json("GET", "/v1/usage?by=tenant&tenant=other")
    assert [line["by"] for line in found["lines"]] == ["other"]


@pytest.mark.parametrize("name", ["*", "search", "embeddings", "ingestion"])
async def test_work_that_is_no_answer_may_have_a_budget(server: Running, name: str) -> None:
    wanted = {"scope": "application", "name": name, "limit": 5}
    assert (await server.json("PUT", "/v1/budgets", wanted))[0] == 200


async def test_a_budget_for_a_key_needs_that_key(server: Running) -> None:
    await _admin(server)
    key = await _admin(server)
    (first, _) = await server.system.records.keys()
    for name in (first.id, "*"):
        wanted = {"scope": "key", "name": name, "limit": 5}
        assert (await server.json("PUT", "/v1/budgets", wanted, key=key))[0] == 200


async def test_usage_is_summed(server: Running) -> None:
    await _used(
        server,
        _row(server),
        _row(server, application="shop"),
        _row(server, 24 * 6, application="shop"),
        _row(server, 24 * 8, application="shop"),
    )
    status, found = await server.json("GET", "/v1/usage?by=app")
    assert (status, found["by"]) == (200, "application")
    shop, assistant = found["lines"]
    assert (shop["by"], shop["questions"], shop["dollars"]) == ("shop", 4, "0.06")
    assert (assistant["by"], assistant["nanodollars"]) == ("assistant", 3 * CENT)
    total = found["total"]
    assert (total["questions"], total["cached"], total["input_tokens"]) == (6, 3, 3_000)
    assert (total["dollars"], total["saved_dollars"]) == ("0.09", "0.03")
    _, longer = await server.json("GET", "/v1/usage?by=app&since=2w")
    assert longer["lines"][0]["dollars"] == "0.09"
    _, hours = await server.json("GET", "/v1/usage?by=hour&since=36h")
    assert len(hours["lines"]) == 1
    _, earlier = await server.json("GET", "/v1/usage?since=2020-01-01&until=2020-02-01T12:30")
    assert (earlier["lines"], earlier["until"] - earlier["since"]) == ([], 31.0 * 86_400 + 45_000)


@pytest.mark.parametrize("by", ["user", "hour"])
async def test_usage_is_told_in_pages_of_the_time_of_the_first(server: Running, by: str) -> None:
    rows = [_row(server, number, user=f"user/{number}?&") for number in range(5)]
    dear = msgspec.structs.replace(rows[3], nanodollars=9 * CENT)
    await _used(server, *rows[:3], dear, rows[4])
    _, whole = await server.json("GET", f"/v1/usage?by={by}&since=24h")
    assert (len(whole["lines"]), whole["next"]) == (5, None)
    pages, following = [], ""
    while following is not None:
        _, page = await server.json("GET", f"/v1/usage?by={by}&since=24h&limit=2{following}")
        pages.append(page)
        following = page["next"] and f"&after={page['next']}"
    assert [len(page["lines"]) for page in pages] == [2, 2, 1]
    assert [line for page in pages for line in page["lines"]] == whole["lines"]
    assert all(page["total"] == whole["total"] for page in pages)
    assert len({(page["since"], page["until"]) for page in pages}) == 1


@pytest.mark.parametrize(
    "times", [(float("nan"), 1.0), (0.0, float("inf")), (-1.0, 5.0), (0.0, 1e300)]
)
async def test_a_page_of_no_time_is_refused(server: Running, times: tuple[float, float]) -> None:
    word = urlsafe_b64encode(msgspec.msgpack.encode([*times, [0, 0, "ann"]])).decode()
    status, refused = await server.json("GET", f"/v1/usage?after={word}")
    assert (status, refused["error"]["param"]) == (400, "after")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/usage?by=user", {"Accept": "text/csv"}), ("/v1/usage?by=user&format=csv", {})],
)
async def test_usage_is_given_as_csv(server: Running, path: str, headers: dict[str, str]) -> None:
    await _used(server, _row(server, user='a "quoted", name'), _row(server))
    async with server.http.get(path, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/csv"
        rows = list(csv.DictReader(io.StringIO(await response.text())))
    assert {row["user"] for row in rows} == {'a "quoted", name', ""}
    assert {row["dollars"] for row in rows} == {"0.03"}
    assert {row["estimated"] for row in rows} == {"false"}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum(a1)", "\t=1"])
async def test_names_in_csv_are_no_formulas(server: Running, name: str) -> None:
    await _used(server, _row(server, user=name))
    async with server.http.get("/v1/usage?by=user&format=csv") as response:
        [row] = csv.DictReader(io.StringIO(await response.text()))
    assert row["user"] == f"'{name}"


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("by=modle", "by", "Did you mean 'model'?"),
        ("since=7", "since", "36h, 7d or 2w"),
        ("since=yesterday", "since", "2026-11-01"),
        ("until=99999-01-01", "until", "2026-11-01"),
        ("since=2026-02-30", "since", "2026-11-01"),
        ("since=1d&until=2d", "since", "not before"),
        ("format=xml", "format", "json or csv"),
        ("format=csv&limit=5", "limit", "CSV comes whole"),
        ("after=x", "after", "no page named"),
    ],
)
async def test_a_wrong_question_about_usage_is_refused_in_a_clear_sentence(
    server: Running, query: str, field: str, words: str
) -> None:
    status, refused = await server.json("GET", f"/v1/usage?{query}")
    error = refused["error"]
    assert (status, error["param"]) == (400, field)
    assert words in f"{error['message']} {error['remedy']}"
