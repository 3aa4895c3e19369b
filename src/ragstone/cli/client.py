"""The HTTP interface as the commands use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ragstone.domain.errors import RagstoneError

if TYPE_CHECKING:
    import aiohttp  # takes longer than all that `--help` needs


_LISTED_BY: Final = {
    "/v1/documents": "ragstone documents list",
    "/v1/jobs": "ragstone jobs",
    "/v1/keys": "ragstone keys list",
    "/v1/budgets": "ragstone budgets list",
}
"""Where the server names the path that lists what there is, a command names a command."""

_ABSENT: Final = ("unknown_document", "unknown_job", "unknown_budget", "not_found")

_REMEDIES: Final = {
    "unauthenticated": "Set RAGSTONE_API_KEY to the secret of a key that was not revoked, or unset "
    "it to work as the operator of this machine.",
}


class ServerError(RagstoneError):
    """An error that the server answered with; keeps its code."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(
            str(body.get("message", "The server failed.")),
            remedy=body.get("remedy"),
            field=body.get("param"),
            retry_after=body.get("retry_after"),
        )
        self.code = str(body.get("code", "internal_error"))  # type: ignore[misc]


class Client:
    """One server, one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return await self._request("GET", path, query=query)

    async def pages(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Of what is listed there, to the last."""
        asked = {"limit": "1000", **(query or {})}
        while True:
            page = await self.get(path, asked)
            yield page
            if page["next"] is None:
                return
            asked["after"] = page["next"]

    async def text(self, path: str, query: Mapping[str, str]) -> str:
        async with self._session.get(path, params=query) as response:
            if response.status >= 400:
                raise _error(await response.read(), response.status, path)
            return await response.text()

    async def put(self, path: str, body: object) -> Any:
        return await self._request("PUT", path, json=msgspec.json.encode(body))

    async def post(self, path: str, body: object) -> Any:
        return await self._request("POST", path, json=msgspec.json.encode(body))

    async def delete(self, path: str) -> Any:
        return await self._request("DELETE", path)

    async def upload(self, path: str, form: aiohttp.FormData) -> Any:
        return await self._request("POST", path, form=form)

    async def events(self, path: str, body: object) -> AsyncIterator[dict[str, Any]]:
        """The data of each event; an `error` event is raised as `ServerError`."""
        data = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(path, data=data, headers=headers) as response:
            if response.status >= 400:
                raise _error(await response.read(), response.status, path)
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                event = msgspec.json.decode(line[6:])
                if "error" in event:
                    raise ServerError(event["error"])
                yield event

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: bytes | None = None,
        form: aiohttp.FormData | None = None,
    ) -> Any:
        headers = {"Content-Type": "application/json"} if json is not None else {}
        async with self._session.request(
            method, path, params=query, data=form if form is not None else json, headers=headers
        ) as response:
            raw = await response.read()
            if response.status >= 400:
                raise _error(raw, response.status, path)
            return msgspec.json.decode(raw)


def _error(raw: bytes, status: int, path: str) -> ServerError:
    try:
        error = ServerError(msgspec.json.decode(raw)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ServerError({"message": f"The server answered with status {status}."})
    listed_by = next((_LISTED_BY[start] for start in _LISTED_BY if path.startswith(start)), None)
    if listed_by and error.code in _ABSENT:
        error.remedy = f"List them with `{listed_by}`."
    error.remedy = _REMEDIES.get(error.code, error.remedy)
    return error


def quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
