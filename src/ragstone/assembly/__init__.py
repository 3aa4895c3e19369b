"""Settings become running systems: the only package that names concrete classes.

What is imported from here is loaded when it is first used: a gateway has no need of the index
and the records, whose imports take half a second.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragstone.assembly.gateway import open_gateway
    from ragstone.assembly.models import prepare_embedder
    from ragstone.assembly.whole import open_system

__all__ = ["open_gateway", "open_system", "prepare_embedder"]


def __getattr__(name: str) -> Any:
    if name == "open_system":
        from ragstone.assembly.whole import open_system

        return open_system
    if name == "open_gateway":
        from ragstone.assembly.gateway import open_gateway

        return open_gateway
    if name == "prepare_embedder":
        from ragstone.assembly.models import prepare_embedder

        return prepare_embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
