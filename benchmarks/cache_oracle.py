"""What caches save, at equal answers: model calls and dollars with and without, and every answer
judged against a fresh run over the documents as they were.

A Zipf(1.0) stream of 5,000 questions over 300 distinct ones, 10 % reworded, by clients of two
access groups through two processes, while 1 % of 1,000 documents change (texts and access lists).
In this process and on virtual time; model and index are simulated, caches and the path of a
question are the real ones. Exits with 1 when an answer differs.

    python benchmarks/cache_oracle.py [--questions 5000] [--seed 0]
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.pipeline.oracle import Outcome, Plan, Run
from tests.virtual_loop import run, running_clock

from ragstone.caches.memory import MemoryCache


def outcome_of(plan: Plan) -> Outcome:
    """Of one run on a virtual loop of its own."""

    async def scenario() -> Outcome:
        clock = running_clock()
        caches = [MemoryCache(max_bytes=32_000_000, clock=clock) for _ in range(plan.processes)]
        return await Run(plan, clock, caches).run()

    return run(scenario())


def show(name: str, outcome: Outcome) -> None:
    dollars = outcome.nanodollars / 1e9
    print(
        f"{name:16s} {outcome.answered:7d} {outcome.model_calls:12d} {dollars:10.6f} "
        f"{len(outcome.wrong):8d} {outcome.in_change:10d}   {dict(outcome.by_cache)}"
    )
    for line in outcome.wrong[:10]:
        print("   differs:", line)


def main() -> None:
    parser = argparse.ArgumentParser(description="Caches against no caches, every answer judged")
    parser.add_argument("--questions", type=int, default=5_000)
    parser.add_argument("--distinct", type=int, default=300)
    parser.add_argument("--documents", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    plan = Plan(
        questions=arguments.questions, distinct=arguments.distinct,
        documents=arguments.documents, changes=max(1, arguments.documents // 100),
        clients=64, seed=arguments.seed,
    )  # fmt: skip
    began = time.perf_counter()
    print("                 answers  model calls    dollars  differing  in change")
    with_caches = outcome_of(plan)
    show("with caches", with_caches)
    without = outcome_of(replace(plan, caches=False, judged=False))
    show("without", without)
    print(
        f"model calls {with_caches.model_calls / without.model_calls:.3f}, dollars "
        f"{with_caches.nanodollars / without.nanodollars:.3f} of those without; "
        f"{time.perf_counter() - began:.0f} s"
    )
    if with_caches.wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
