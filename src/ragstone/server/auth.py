"""Identity from the credential, and from nothing else in the request."""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from ragstone.domain.errors import Forbidden, Unauthenticated
from ragstone.domain.principal import Principal, Scope
from ragstone.governance.keys import SCOPES, hash_key, principal_of
from ragstone.server.listening import is_loopback
from ragstone.system import System

DEFAULT_TENANT: Final = "default"

LOCAL_OPERATOR: Final = Principal(
    tenant=DEFAULT_TENANT, user="local", scopes=frozenset(SCOPES), key_id=None
)
"""Who runs commands on the machine, and everybody on it while no keys are configured."""


async def authenticate(headers: Mapping[str, str], system: System) -> Principal:
    """The principal of the bearer key. `headers` by their names in lower case.

    Raises `Unauthenticated`, `Forbidden`.
    """
    if secret := bearer_of(headers):
        if hmac.compare_digest(secret.encode(), system.local_token.encode()):
            return LOCAL_OPERATOR
        key = await system.services.records.key_by_hash(hash_key(secret))
        if key is not None:
            return principal_of(key)
    if not await system.keys_configured():
        # Open on this machine, so a key that OpenAI's clients insist on is not looked at.
        _refuse_foreign_pages(headers)
        return LOCAL_OPERATOR
    if secret:
        raise Unauthenticated(
            "The API key is not known or was revoked.",
            remedy="Make one with `ragstone keys create`.",
        )
    raise Unauthenticated(
        "This server needs an API key.", remedy="Send it as `Authorization: Bearer KEY`."
    )


def bearer_of(headers: Mapping[str, str]) -> str:
    """The key that is shown; empty where there is none."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def require(principal: Principal, scope: Scope) -> None:
    """Raises `Forbidden` when the key was not given `scope`; `admin` includes the others."""
    if scope not in principal.scopes and "admin" not in principal.scopes:
        raise Forbidden(
            f"This API key has no scope {scope!r}.",
            remedy=f"Use a key that was created with `--scope {scope}`.",
        )


async def authorize_local(request: Request, system: System) -> None:
    """Programs of this machine pass without a key; others need the scope `admin`.

    What a proxy on this machine hands on comes from elsewhere. Raises `Unauthenticated`,
    `Forbidden`.
    """
    if not await system.keys_configured():
        _refuse_foreign_pages(request.headers)
        return
    peer = request.client.host if request.client else "localhost"  # none on a Unix socket
    handed_on = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    if (
        not is_loopback(peer)
        or handed_on
        or _is_foreign(request.headers.get("host", ""), request.headers.get("origin"))
    ):
        require(await authenticate(request.headers, system), "admin")


def _refuse_foreign_pages(headers: Mapping[str, str]) -> None:
    """Without keys, a page of another site in a local browser must not reach us."""
    if _is_foreign(headers.get("host", ""), headers.get("origin")):
        raise Forbidden(
            "Without API keys this server answers only pages and programs of its own machine.",
            remedy="Open it as http://127.0.0.1, or create keys with `ragstone keys create`.",
        )


@lru_cache(maxsize=256)
def _is_foreign(host: str, origin: str | None) -> bool:
    """A rebound DNS name shows in `Host`, a cross-site request in `Origin`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return not is_loopback(name) or (origin is not None and urlsplit(origin).netloc != host)
    except ValueError:  # no address at all, such as `[`
        return True
