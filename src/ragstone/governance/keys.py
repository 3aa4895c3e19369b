"""API keys: made at random, shown once, kept as SHA-256, mapped to a principal."""

import hashlib
import secrets
from typing import Final

from ragstone.domain.principal import Principal, Priority, Scope
from ragstone.ports import ApiKey, Clock

_PREFIX: Final = "rgs_"
_RANDOM_BYTES: Final = 24
"""192 bits; a key cannot be guessed, so a plain hash protects it and a slow one is not needed."""

SCOPES: Final[tuple[Scope, ...]] = ("ask", "ingest", "admin")


def new_key(
    *,
    tenant: str,
    user: str | None,
    groups: list[str],
    scopes: list[Scope],
    label: str,
    clock: Clock,
    priority: Priority | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[str, ApiKey]:
    """The secret, to be shown once, and what is kept of it."""
    secret = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    record = ApiKey(
        id="key_" + secrets.token_hex(8),
        sha256=hash_key(secret),
        tenant=tenant,
        user=user,
        groups=sorted(set(groups)),
        scopes=[scope for scope in SCOPES if scope in scopes],
        label=label,
        created_at=clock.time(),
        priority=priority,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    return secret, record


def hash_key(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def principal_of(key: ApiKey) -> Principal:
    return Principal(
        tenant=key.tenant,
        user=key.user,
        groups=frozenset(key.groups),
        scopes=frozenset(key.scopes),
        key_id=key.id,
        priority=key.priority,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
    )
