"""The sample corpus: a fictional fashion and home retailer, Tarn & Teasel.

Importing this package costs nothing; the generator is loaded by the first `write_corpus`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ragstone.sample.corpus import Corpus

__all__ = ["write_corpus"]


def write_corpus(folder: Path, *, products: int = 5000, seed: int = 7) -> Corpus:
    """Write help documents, products and evaluation files below `folder`, which may exist.

    Files of the same name are overwritten, others are left alone:

    - `help/...`: the help documents in their folders;
    - `products/products.jsonl`: one product a line;
    - `evaluation/help.queries.jsonl`, `help.qrels.tsv`, `products.queries.jsonl` and
      `products.qrels.tsv`.

    The same `products` and `seed` always give the same bytes.

    Raises:
        ValueError: if `products` is negative.
        OSError: if the folder cannot be written.
    """
    from ragstone.sample.corpus import write

    return write(folder, products, seed)
