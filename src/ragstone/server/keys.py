"""API keys over HTTP: made, listed and revoked with the scope `admin`."""

from typing import Annotated, Final

import msgspec
from starlette.responses import Response

from ragstone.domain.errors import Forbidden, NotFound
from ragstone.domain.principal import Priority, Scope
from ragstone.governance.keys import new_key
from ragstone.ports import ApiKey, KeyPlace
from ragstone.server.call import Call
from ragstone.server.documents import Deleted
from ragstone.server.pages import place_of, word_for
from ragstone.server.parameters import page_size
from ragstone.server.tenants import tenants_in_view

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_PerMinute = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the key speaks for, and what it may do."""

    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["ask"]
    )
    user: _Name | None = None
    groups: list[_Name] = []
    label: str = ""
    tenant: _Name | None = None
    """Default: the caller's. Another one may be named only from the server's own machine."""
    priority: Priority | None = None
    """Who is served first under overload. Default: as the application says."""
    requests_per_minute: _PerMinute | None = None
    """0: as many as it likes. Default: the setting `quotas.key_requests_per_minute`."""
    tokens_per_minute: _PerMinute | None = None
    """Of the language model. 0: as many as it likes. Default: the setting
    `quotas.key_tokens_per_minute`."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    tenant: str
    label: str
    user: str | None
    groups: list[str]
    scopes: list[Scope]
    created_at: float
    revoked_at: float | None
    priority: Priority | None
    """Null: as the application says."""
    requests_per_minute: int | None
    tokens_per_minute: int | None
    """Null: as the settings say. 0: as many as it likes."""


class NewKey(msgspec.Struct, frozen=True):
    """The only time that the secret is shown."""

    secret: str
    key: KeyView


class KeysResponse(msgspec.Struct, frozen=True):
    """A page of keys; pass `next` as `after` for the following one."""

    keys: list[KeyView]
    next: str | None


_REQUEST = msgspec.json.Decoder(KeyRequest)
_PLACES: Final = msgspec.msgpack.Decoder(KeyPlace)


async def post_key(call: Call) -> Response:
    """Make an API key. From the first one on, every request needs a key."""
    wanted = await call.body(_REQUEST)
    tenant = wanted.tenant or call.principal.tenant
    if call.principal.key_id is not None and tenant != call.principal.tenant:
        raise Forbidden(
            "A key makes keys of its own tenant only.",
            remedy="Run `ragstone keys create --tenant` on the server's machine.",
            field="tenant",
        )
    secret, key = new_key(
        tenant=tenant,
        user=wanted.user,
        groups=list(wanted.groups),
        scopes=wanted.scopes,
        label=wanted.label,
        clock=call.system.clock,
        priority=wanted.priority,
        requests_per_minute=wanted.requests_per_minute,
        tokens_per_minute=wanted.tokens_per_minute,
    )
    await call.system.records.create_key(key)
    call.system.note_key_created()
    return call.json(NewKey(secret, _view(key)), 201)


async def get_keys(call: Call) -> Response:
    """The keys of the caller's tenant (on the server's machine: all), without their secrets, in
    pages."""
    query = call.request.query_params
    tenant = tenants_in_view(call, query.get("tenant"))
    limit = page_size(query.get("limit"))
    after = place_of(query.get("after"), _PLACES)
    keys = await call.system.records.keys(tenant, limit=limit + 1, after=after)
    following = word_for(keys[limit - 1].place) if len(keys) > limit else None
    return call.json(KeysResponse([_view(key) for key in keys[:limit]], following))


async def delete_key(call: Call) -> Response:
    """Revoke a key; it is refused within a second."""
    key_id = call.request.path_params["key_id"]
    keys = await call.system.records.keys(tenants_in_view(call, None))
    managed = any(key.id == key_id for key in keys)
    if not managed or not await call.system.records.revoke_key(key_id):
        raise NotFound(
            f"There is no key {key_id[:80]!r} to revoke.", remedy="List them with GET /v1/keys."
        )
    return call.json(Deleted(key_id))


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        label=key.label,
        user=key.user,
        groups=key.groups,
        scopes=key.scopes,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        priority=key.priority,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
    )
