"""Whose things an administrator may see and change: those of the own tenant, and from the
server's own machine, where no key is needed, everybody's."""

from ragstone.domain.errors import Forbidden
from ragstone.server.call import Call


def managed_tenant(call: Call, named: str | None) -> str:
    """The tenant of what is made. Raises `Forbidden` for one that the caller does not manage."""
    return tenants_in_view(call, named or call.principal.tenant) or call.principal.tenant


def tenants_in_view(call: Call, named: str | None) -> str | None:
    """The tenant whose things are meant; None: everybody's. Raises `Forbidden`."""
    principal = call.principal
    if principal.key_id is None:  # the local operator
        return named or None
    if named and named != principal.tenant:
        raise Forbidden(
            "A key manages its own tenant only.",
            remedy="Leave the tenant out, or do it on the server's own machine without a key.",
            field="tenant",
        )
    return principal.tenant
