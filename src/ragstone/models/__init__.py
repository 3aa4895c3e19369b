"""Embedders, rerankers and language models: a file for each wire format."""
