"""Ways of joining the dense and the lexical leg, measured on every judged set.

    python benchmarks/fusion.py [--data ../shared/data] [--cache FOLDER] [--sample 1500]
                                [--depth 50] [--seed 20]
                                [--metadata none|lexical|both] [--titles 1]

The texts are those of ingestion; metadata and repeated titles in them can be tried out. One
half of each set's queries chooses the way, the other half reports; there is one choice for all
sets. Prints nDCG@10 by way and set, then, for the chosen way and for the one that the settings
name, the paired difference from the better leg by set and part of a set, with its 95 %
bootstrap interval. docs/decisions/0004-fusion.md has the results.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from fusion_ways import (
    MEASURES,
    SCALES,
    Array,
    Candidates,
    Join,
    candidates,
    convex,
    measure,
    only_dense,
    only_lexical,
    reciprocal_rank,
)
from judged_sets import (
    Absent,
    Judged,
    MetadataIn,
    Reader,
    Scored,
    Scorer,
    conversations,
    corpora,
    movies,
    retailer,
)

from ragstone.lab.evaluation import Estimate, estimate
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.settings import RetrievalSettings

WEIGHTS = tuple(round(0.1 * tenths, 1) for tenths in range(1, 10))
RANK_CONSTANTS = (10, 20, 40, 60, 100)
SMALLEST_PART = 5
"""Parts of a set with fewer queries are not reported alone."""
LARGE_PART = 30
"""Parts with as many queries count like a set when a way is judged."""


def ways() -> dict[str, Join]:
    """Every way by its name; the legs first."""
    found: dict[str, Join] = {"dense": only_dense, "lexical": only_lexical}
    for k in RANK_CONSTANTS:
        found[f"rrf k={k}"] = partial(reciprocal_rank, k=k)
    for scale in SCALES:
        for filled in (True, False):
            for weight in WEIGHTS:
                found[named(scale, filled, weight)] = partial(
                    convex, weight=weight, scale=scale, filled=filled
                )
    return found


def named(scale: str, filled: bool, weight: float) -> str:
    return f"{scale}, {'filled' if filled else 'least'}, {weight}"


class Half(NamedTuple):
    """What one half of a set's queries measured: (measures, queries) by way."""

    values: dict[str, Array]
    parts: list[str]

    def better_leg(self, row: int = 0) -> str:
        return max(("dense", "lexical"), key=lambda leg: float(self.values[leg][row].mean()))

    def names(self, least: int) -> list[str]:
        """Parts with that many queries; none when there is one part only."""
        found = sorted(set(self.parts))
        return [p for p in found if len(found) > 1 and self.parts.count(p) >= least]

    def part(self, name: str) -> "Half":
        rows = [number for number, part in enumerate(self.parts) if part == name]
        return Half({way: array[:, rows] for way, array in self.values.items()}, [])

    def gain(self, way: str, row: int = 0) -> Array:
        """By query, over the leg that is better on average."""
        return np.asarray(self.values[way][row] - self.values[self.better_leg(row)][row])


class Measured(NamedTuple):
    scored: Scored
    candidates: Candidates
    chooses: Half
    reports: Half
    whole: Half


def measured(scored: Scored, depth: int, seed: int) -> Measured:
    found = candidates(scored, depth)
    values = {name: measure(scored, found, join(found)) for name, join in ways().items()}
    order = np.random.default_rng(seed).permutation(len(scored.grade))
    halves = []
    for rows in (np.sort(order[::2]), np.sort(order[1::2]), np.sort(order)):
        parts = [scored.judged.groups[row] for row in rows]
        halves.append(Half({name: array[:, rows] for name, array in values.items()}, parts))
    return Measured(scored, found, *halves)


def chosen(sets: list[Measured]) -> str:
    """The way that loses significantly in the fewest places, and of those gains most."""
    joins = [way for way in ways() if way not in ("dense", "lexical")]
    return max(
        joins,
        key=lambda way: (
            -sum(losses(one.chooses, way) for one in sets),
            float(np.mean([one.chooses.gain(way).mean() for one in sets])),
        ),
    )


def losses(half: Half, way: str) -> int:
    """Of a set and its larger parts, how many have an interval of nDCG@10 below zero."""
    places = [half, *(half.part(name) for name in half.names(LARGE_PART))]
    return sum(estimate(place.gain(way)).high < 0 for place in places)


def print_ways(sets: list[Measured]) -> None:
    """nDCG@10 on the reporting half; a minus marks a significant loss to the better leg. The
    last column counts such losses over all queries, by set and by large part of a set."""
    names = [one.scored.judged.name for one in sets]
    print("| way |", " | ".join(names), "| mean gain | worst | losses |")
    print("|---" * (len(names) + 4) + "|")
    for way in ways():
        gains = [one.reports.gain(way) for one in sets]
        cells = [
            f"{one.reports.values[way][0].mean():.3f}{'-' if estimate(gain).high < 0 else ''}"
            for one, gain in zip(sets, gains, strict=True)
        ]
        means = [float(gain.mean()) for gain in gains]
        lost = sum(losses(one.whole, way) for one in sets)
        summary = f"| {np.mean(means):+.3f} | {min(means):+.3f} | {lost} |"
        print(f"| {way} |", " | ".join(cells), summary)
    print()


def print_gains(sets: list[Measured], way: str) -> None:
    """Each measure of the reporting half beside the legs'; parts of a set by nDCG@10, over all
    of their queries."""
    print(f"{way}\n")
    print("| set | queries | measure | dense | lexical | hybrid | hybrid - better leg |")
    print("|---|---|---|---|---|---|---|")
    for one in sets:
        name, half = one.scored.judged.name, one.reports
        for row, title in enumerate(MEASURES):
            print_row(name, half, way, row, title)
        for part in one.whole.names(SMALLEST_PART):
            print_row(f"{name}: {part}", one.whole.part(part), way, 0, MEASURES[0])
        if one.scored.judged.sparse:
            print_judged_only(one, way)
    print()


def print_row(name: str, half: Half, way: str, row: int, title: str) -> None:
    means = " | ".join(f"{half.values[leg][row].mean():.3f}" for leg in ("dense", "lexical", way))
    count = half.values[way].shape[1]
    print(f"| {name} | {count} | {title} | {means} | {shown(estimate(half.gain(way, row)))} |")


def print_judged_only(one: Measured, way: str) -> None:
    """The same with unjudged documents taken out of the rankings (all queries)."""
    legs = {"dense": only_dense, "lexical": only_lexical, way: ways()[way]}
    scores = {name: join(one.candidates) for name, join in legs.items()}
    values = {
        name: measure(one.scored, one.candidates, array, judged_only=True)
        for name, array in scores.items()
    }
    print_row(f"{one.scored.judged.name}: judged only", Half(values, []), way, 0, MEASURES[0])
    shares = " | ".join(f"{unjudged(one, array):.3f}" for array in scores.values())
    name, count = one.scored.judged.name, len(one.scored.grade)
    print(f"| {name}: unjudged share | {count} | top 10 | {shares} | |")


def unjudged(one: Measured, scores: Array) -> float:
    """The share of the first ten that nobody has judged."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    documents = np.take_along_axis(one.candidates.document, top, axis=1)
    shares = [
        np.mean([document not in grades for document in row])
        for row, grades in zip(documents.tolist(), one.scored.grade, strict=True)
    ]
    return float(np.mean(shares))


def shown(value: Estimate) -> str:
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def judged_sets(data: Path, reader: Reader, sample: int, seed: int) -> Iterator[Judged]:
    """Those that are on this machine; says which are not, and why."""
    loads: list[Callable[[], Judged]] = [
        lambda: retailer(reader, "help"),
        lambda: retailer(reader, "products"),
        lambda: corpora(data, reader),
        lambda: conversations(data, reader),
        lambda: movies(data, reader, sample, seed),
    ]
    for load in loads:
        try:
            yield load()
        except Absent as reason:
            print(f"A set is skipped: {reason}.\n")


async def run(given: argparse.Namespace) -> None:
    embedder = await asyncio.to_thread(MiniLmEmbedder)
    reader = Reader(embedder, given.metadata, given.titles)
    scorer = Scorer(embedder, given.cache)
    sets = [
        measured(await scorer.score(judged), given.depth, given.seed)
        for judged in judged_sets(given.data, reader, given.sample, given.seed)
    ]
    await embedder.close()
    print_ways(sets)
    best = chosen(sets)
    print("Chosen by the other half: ", end="")
    print_gains(sets, best)
    default = named("theoretical", filled=True, weight=RetrievalSettings().dense_weight)
    if default != best and default in ways():
        print("The default settings: ", end="")
        print_gains(sets, default)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--cache", type=Path, default=Path(".cache/fusion"))
    arguments.add_argument("--sample", type=int, default=1500, help="queries of the largest set")
    arguments.add_argument("--depth", type=int, default=50, help="candidates of each leg")
    arguments.add_argument("--seed", type=int, default=20)
    arguments.add_argument("--metadata", choices=get_args(MetadataIn), default="none")
    arguments.add_argument("--titles", type=int, default=1, help="how often a title is indexed")
    asyncio.run(run(arguments.parse_args()))


if __name__ == "__main__":
    main()
