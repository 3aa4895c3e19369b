"""Who asks, and the access tokens by which passages are matched to them."""

from functools import lru_cache
from typing import Final, Literal

import msgspec

Scope = Literal["ask", "ingest", "admin"]

Priority = Literal["critical", "standard", "sheddable"]
"""Who is served first under overload; sheddable requests are the first to be refused."""

PRIORITIES: Final[tuple[Priority, ...]] = ("critical", "standard", "sheddable")

EVERYONE: Final = "*"
"""In a document's access list: everybody of the same tenant."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. Derived on the server from the credential, never from a request body."""

    tenant: str
    user: str | None = None
    groups: frozenset[str] = frozenset()
    scopes: frozenset[Scope] = frozenset({"ask"})
    key_id: str | None = None
    """The API key that vouches for this principal; None for the local operator."""
    priority: Priority | None = None
    """As its key says; None: the application's."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """As its key says; None: as the settings say for every key. 0: as many as it likes."""

    def access_tokens(self) -> list[str]:
        """Everything this principal may match, sorted; see `access_token`."""
        return list(_access_tokens(self.tenant, self.user, self.groups))


@lru_cache(maxsize=4096)
def _access_tokens(tenant: str, user: str | None, groups: frozenset[str]) -> tuple[str, ...]:
    entries = {EVERYONE, *(f"group:{name}" for name in groups)}
    if user is not None:
        entries.add(f"user:{user}")
    return tuple(sorted(access_token(tenant, entry) for entry in entries))


def access_token(tenant: str, entry: str) -> str:
    """One access-list entry bound to its tenant.

    `entry` is `*`, `group:NAME` or `user:NAME`. The tenant is part of the token, so one
    condition in the index query keeps both tenants and groups apart, and a group of the
    same name in two tenants is two tokens. Its length goes in front, so that no choice of
    names can make two different pairs collide.
    """
    return f"{len(tenant)}:{tenant}:{entry}"
