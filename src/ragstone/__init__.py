"""Ragstone: a server for retrieval-augmented generation that survives its launch."""

__all__ = ["__version__"]

__version__ = "0.1.0"
