"""Settings become running systems: the only package that names concrete classes."""

from ragstone.assembly.models import prepare_embedder
from ragstone.assembly.whole import open_system

__all__ = ["open_system", "prepare_embedder"]
