"""API keys over HTTP: made, listed and revoked with the scope `admin`."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from ragstone.domain.errors import NotFound
from ragstone.domain.principal import Scope
from ragstone.governance.keys import new_key
from ragstone.ports import ApiKey
from ragstone.server.call import Call
from ragstone.server.documents import Deleted

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class KeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the key speaks for, and what it may do. Its tenant is the caller's."""

    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["ask"]
    )
    user: _Name | None = None
    groups: list[_Name] = []
    label: str = ""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    id: str
    label: str
    user: str | None
    groups: list[str]
    scopes: list[Scope]
    created_at: float
    revoked_at: float | None


class NewKey(msgspec.Struct, frozen=True):
    """The only time that the secret is shown."""

    secret: str
    key: KeyView


class KeysResponse(msgspec.Struct, frozen=True):
    keys: list[KeyView]


_REQUEST = msgspec.json.Decoder(KeyRequest)


async def post_key(call: Call) -> Response:
    """Make an API key. From the first one on, every request needs a key."""
    wanted = await call.body(_REQUEST)
    secret, key = new_key(
        tenant=call.principal.tenant,
        user=wanted.user,
        groups=list(wanted.groups),
        scopes=wanted.scopes,
        label=wanted.label,
        clock=call.system.clock,
    )
    await call.system.records.create_key(key)
    call.system.note_key_created()
    return call.json(NewKey(secret, _view(key)), 201)


async def get_keys(call: Call) -> Response:
    """The keys of the caller's tenant, without their secrets."""
    keys = await call.system.records.keys()
    mine = [_view(key) for key in keys if key.tenant == call.principal.tenant]
    return call.json(KeysResponse(mine))


async def delete_key(call: Call) -> Response:
    """Revoke a key; it is refused within a second."""
    key_id = call.request.path_params["key_id"]
    keys = {key.id: key.tenant for key in await call.system.records.keys()}
    mine = keys.get(key_id) == call.principal.tenant
    if not mine or not await call.system.records.revoke_key(key_id):
        raise NotFound(
            f"There is no key {key_id[:80]!r} to revoke.", remedy="List them with GET /v1/keys."
        )
    return call.json(Deleted(key_id))


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        label=key.label,
        user=key.user,
        groups=key.groups,
        scopes=key.scopes,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
