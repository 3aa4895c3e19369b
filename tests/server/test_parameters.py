"""Query parameters that an operation does not know are refused, by all of them."""

import re

from ragstone.server.operations import OPERATIONS, Operation
from tests.server.conftest import Running

OURS = [operation for operation in OPERATIONS if operation.path.startswith("/v1/")]


def _address(operation: Operation) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "x", operation.path)


async def test_an_unknown_one_is_named_with_those_that_are_known(server: Running) -> None:
    for operation in OURS:
        method, address = operation.method, _address(operation)
        status, answer = await server.json(method, f"{address}?colour=x")
        error = answer["error"]
        assert (status, error["code"], error["param"]) == (400, "invalid_request", "colour")
        assert error["message"] == "There is no query parameter 'colour' here."
        assert operation.query is not None
        for name in operation.query:
            assert f"`{name}`" in error["remedy"]
            _, answer = await server.json(method, f"{address}?{name}=")
            assert "There is no query parameter" not in str(answer)
            _, answer = await server.json(method, f"{address}?{name}=&{name}=")
            assert answer["error"]["message"] == f"The query parameter `{name}` is given 2 times."


async def test_a_slip_clears_nothing(server: Running) -> None:
    question = {"question": "How long may full-price items be returned?", "collection": "help"}
    await server.json("POST", "/v1/answers", question)
    status, answer = await server.json("DELETE", "/v1/cache?colection=help")
    assert status == 400
    assert answer["error"]["remedy"] == "Did you mean `collection`? Known ones: `collection`."
    assert (await server.json("POST", "/v1/answers", question))[1]["cache"] == "hit"


async def test_the_key_is_looked_at_first(server: Running) -> None:
    await server.json("POST", "/v1/keys", {"scopes": ["ask"]})
    status, answer = await server.json("GET", "/v1/usage?sinse=7d", key="wrong")
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")


async def test_who_watches_may_send_what_he_likes(server: Running) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        async with server.http.get(f"{path}?at=1&at=2") as response:
            assert response.status == 200


async def test_odd_queries_are_refused_or_empty(server: Running) -> None:
    queries = {"?": 200, "?&&": 200, "?%00=%ff": 400, "?a&b": 400, "?=1": 400}
    for query, expected in queries.items():
        assert (await server.json("GET", f"/v1/collections{query}"))[0] == expected
