"""BM25's parameters and what is indexed beside the text, by nDCG@10 of the lexical leg alone.

    python benchmarks/bm25.py [--data ../shared/data] [--sample 600] [--seed 20]
                              [--k1 0.9,1.2,1.6] [--b 0.3,0.4,0.5,0.75] [--titles 1,2]
                              [--metadata none,lexical]

docs/decisions/0004-fusion.md has the results.
"""

import argparse
import asyncio
from pathlib import Path
from unittest.mock import patch

import numpy as np
from chunking import Bm25
from fusion import judged_sets
from fusion_ways import candidates, measure, only_lexical
from judged_sets import Judged, MetadataIn, Reader, Scored

from ragstone.index import lexical
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder

DEPTH = 50


def scored(judged: Judged) -> Scored:
    """With the lexical leg only."""
    names = {name: number for number, name in enumerate(dict.fromkeys(judged.documents))}
    words = Bm25(judged.indexed)
    scores = np.array([words.scores(query) for query in judged.queries])
    return Scored(
        judged,
        dense=np.zeros_like(scores),
        lexical=scores,
        document=np.array([names[name] for name in judged.documents]),
        grade=[
            {names[name]: grade for name, grade in grades.items() if name in names}
            for grades in judged.grades
        ],
    )


def quality(judged: Judged) -> float:
    found = scored(judged)
    near = candidates(found, DEPTH)
    return float(measure(found, near, only_lexical(near))[0].mean())


def run(given: argparse.Namespace) -> None:
    embedder = MiniLmEmbedder()  # counts tokens
    shown = False
    for metadata in given.metadata.split(","):
        kind: MetadataIn = "lexical" if metadata == "lexical" else "none"
        for titles in map(int, given.titles.split(",")):
            reader = Reader(embedder, kind, titles)
            sets = list(judged_sets(given.data, reader, given.sample, given.seed))
            if not shown:
                print("| metadata | titles | k1 | b |", " | ".join(s.name for s in sets), "|")
                print("|---" * (len(sets) + 4) + "|")
                shown = True
            for k1 in map(float, given.k1.split(",")):
                for b in map(float, given.b.split(",")):
                    with patch.multiple(lexical, K1=k1, B=b):
                        cells = " | ".join(f"{quality(judged):.3f}" for judged in sets)
                    print(f"| {kind} | {titles} | {k1} | {b} | {cells} |", flush=True)
    asyncio.run(embedder.close())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--sample", type=int, default=600, help="queries of the largest set")
    arguments.add_argument("--seed", type=int, default=20)
    arguments.add_argument("--k1", default="0.9,1.2,1.6")
    arguments.add_argument("--b", default="0.3,0.4,0.5,0.75")
    arguments.add_argument("--titles", default="1,2")
    arguments.add_argument("--metadata", default="none,lexical")
    run(arguments.parse_args())


if __name__ == "__main__":
    main()
