"""Embedder, reranker and records fail; what cannot fail in this build, and why."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.inspection import metric_total
from ragstone.lab.chaos.records_lock import locked
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, calls, good_share
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.transcript import Ask, Transcript
from ragstone.lab.chaos.verdict import Check, among, at_least, at_most, none_of, percentile

_RATE: Final = 10.0
_HEALED_SECONDS: Final = 15.0
"""A breaker that was opened again and again stays open for twice `resilience.breaker_open_seconds`,
which is 5, and a fifth of that; then two probes close it."""


async def _healed(site: Site, dependency: str, ask: Callable[[int], Ask]) -> Check:
    """Asks on until the dependency's breaker is closed."""
    began = site.driver.now()
    while (took := site.driver.now() - began) < 2 * _HEALED_SECONDS and metric_total(
        await site.metrics(), "rag_breaker_state", f'dependency="{dependency}"'
    ):
        await site.driver.load(at_rate(_RATE, 1.0, ask))
    return at_most(f"time until the {dependency} is asked as before", took, _HEALED_SECONDS, "s")


async def embedder_down(bench: Bench) -> None:
    services = {"llm": QUICK_MODEL, "embedder": {}}
    async with bench.site(services=services, proxied={"embedder": {}}) as site:
        seconds = bench.seconds(15, 3)
        for name, faults in (
            ("failing", {"kind": "error", "status": 503}),
            ("slow", {"kind": "silence"}),
        ):
            await site.services["embedder"].reset()
            await site.services["embedder"].switch(faults=[faults])
            got = await site.driver.load(at_rate(_RATE, seconds, site.asking()))
            made = await calls(site.services["embedder"])
            bench.expect(
                at_least(f"good answers, {name}", good_share(got), 1.0),
                none_of(f"answers without their label, {name}", _without(got, "lexical_only")),
                at_most(f"calls for each question, {name}", made / len(got), 1.1),
                at_most(f"slowest answer, {name}", max(t.seconds for t in got), 10, "s"),
            )
        await site.services["embedder"].switch(faults=[])
        await site.proxies["embedder"].switch(connect="refuse")
        await site.proxies["embedder"].cut()
        got = await site.driver.load(at_rate(_RATE, seconds, site.asking()))
        bench.expect(
            at_least("good answers, unreachable", good_share(got), 1.0),
            none_of("answers without their label, unreachable", _without(got, "lexical_only")),
        )
        await site.proxies["embedder"].switch(connect="pass")
        bench.expect(await _healed(site, "embedder", site.asking()))
        got = await site.driver.load(at_rate(_RATE, 1.0, site.asking()))
        lexical = [t for t in got if "lexical_only" in t.degraded]
        bench.expect(at_most("lexical answers after healing", len(lexical), 0))


_REPLICAS: Final = 40
"""Each takes its part of the calls. One slow one wants 2.5 % of the calls twice, and what is
slower than the 95th percentile anyway wants its own, of 5 % that are allowed."""


async def replica_slow(bench: Bench) -> None:
    services = {"llm": QUICK_MODEL, "embedder": {"first_token_seconds": 0.05}}
    async with bench.site(services=services) as site:
        embedder, seconds = site.services["embedder"], bench.seconds(30, 10)
        await site.driver.load(at_rate(_RATE, 4.0, site.asking()))  # what answers take
        slow = {"kind": "silence", "seconds": 1.5, "share": 1 / _REPLICAS}
        await embedder.switch(faults=[slow])
        so_far = await calls(embedder)
        got = await site.driver.load(at_rate(2 * _RATE, seconds, site.asking()))
        made, page = await calls(embedder) - so_far, await site.metrics()
        bench.expect(
            at_least("good answers, one slow", good_share(got), 1.0),
            at_least("second calls that won", _second_calls(page, 'outcome="won"'), 1),
            at_most("calls for each question, one slow", made / len(got), 1.05),
            at_most("slow answers", _share_above(1.4, got), 0.8 / _REPLICAS, "of all"),
        )
        all_slow = {"median": 0.4, "sigma": 0.2}
        await embedder.switch(faults=[], first_token_seconds=all_slow)
        await site.driver.load(at_rate(2 * _RATE, 1.5 * seconds, site.asking()))  # it finds out
        before = _second_calls(await site.metrics())
        got = await site.driver.load(at_rate(2 * _RATE, seconds, site.asking()))
        extra = _second_calls(await site.metrics()) - before
        bench.expect(
            at_least("good answers, all slow", good_share(got), 1.0),
            at_most("second calls once all are slow", extra / len(got), 0.02, "of all"),
        )


def _second_calls(page: str, *having: str) -> float:
    return metric_total(page, "rag_hedges_total", 'dependency="embedder"', *having)


def _share_above(seconds: float, transcripts: Sequence[Transcript]) -> float:
    return sum(t.seconds > seconds for t in transcripts) / len(transcripts)


async def reranker_slow(bench: Bench) -> None:
    services = {"llm": QUICK_MODEL, "reranker": {"first_token_seconds": 5}}
    async with bench.site(services=services) as site:
        got = await site.driver.load(at_rate(_RATE, bench.seconds(15, 3), site.asking()))
        bench.expect(
            at_least("good answers", good_share(got), 1.0),
            none_of("answers without their label", _without(got, "reranker_skipped")),
            at_most("slowest answer", max(t.seconds for t in got), 1.5, "s"),
        )
        await site.services["reranker"].switch(first_token_seconds=0)
        bench.expect(await _healed(site, "reranker", site.asking()))
        got = await site.driver.load(at_rate(_RATE, 1.0, site.asking()))
        skipped = [t for t in got if "reranker_skipped" in t.degraded]
        bench.expect(at_most("skipped after healing", len(skipped), 0))


async def index_unreachable(bench: Bench) -> None:
    settings = {"server": {"workers": 1}}
    async with bench.site(services={"llm": QUICK_MODEL}, settings=settings) as site:
        engine = site.engine_pid()
        ask = site.asking(deadline_ms=4_000)
        os.kill(engine, signal.SIGSTOP)
        try:
            seconds = bench.seconds(30, 6)
            got = await site.driver.load(at_rate(_RATE, seconds, ask))
        finally:
            os.kill(engine, signal.SIGCONT)
        last = [t for t in got if t.scheduled > got[0].scheduled + seconds / 2]
        later = percentile([t.seconds for t in last], 0.9)  # one at a time tries the engine
        bench.expect(
            at_most("slowest end", max(t.seconds for t in got), 5, "s"),
            at_most("p90 of the ends in the second half", later, 1, "s"),
            none_of("ends without a reason", [t.outcome for t in got if not _explained(t)]),
            among("reasons", [t.error_code for t in got if t.error_code], _REASONS),
        )
        bench.expect(await _healed(site, "index", ask))
        got = await site.driver.load(at_rate(_RATE, 2.0, ask))
        bench.expect(at_least("good answers after healing", good_share(got), 1.0))


_REASONS: Final = (
    "records_unavailable",  # the engine has these too, and a question asks for them first
    "index_unavailable",
    "circuit_open",
    "dependency_busy",
    "deadline_exceeded",
)


def _explained(transcript: Transcript) -> bool:
    return transcript.answer is not None or bool(transcript.error_code)


async def records_locked(bench: Bench) -> None:
    async with bench.site(services={"llm": QUICK_MODEL}) as site:
        seconds = bench.seconds(20, 4)
        with locked(site.home):
            loading = asyncio.create_task(site.driver.load(at_rate(_RATE, seconds, site.asking())))
            body = {"collection": "help", "documents": [{"id": "new", "text": "A new rule."}]}
            began = site.driver.now()
            headers = {"Authorization": f"Bearer {site.keys['acme']}"}
            async with site.http.post("/v1/documents", json=body, headers=headers) as response:
                answer = await response.json()
                refused = (response.status, answer.get("error", {}).get("code"))
            took = site.driver.now() - began
            got = await loading
        accepted = await site.call("POST", "/v1/documents", body, site.keys["acme"])
        state = (await site.job_ended("acme", accepted["jobs"][0]["id"]))["state"]
        bench.expect(
            at_least("good answers while it is locked", good_share(got), 1.0),
            none_of("writes refused otherwise than with a reason", _odd(refused)),
            at_most("time until a write is refused", took, 20, "s"),
            none_of("writes that fail afterwards", [] if state == "done" else [state]),
        )


def _odd(refused: tuple[int, str]) -> list[str]:
    return [] if refused == (503, "records_unavailable") else [str(refused)]


def _without(transcripts: Sequence[Transcript], rung: str) -> list[str]:
    return [str(t.degraded) for t in transcripts if t.good and rung not in t.degraded]


SCENARIOS: Final = (
    Scenario(
        name="index-unreachable",
        faults=(8,),
        does="The engine process, which holds the index, is stopped; then it goes on.",
        expects="Soon only one at a time waits for it; all end with a reason; then all is well.",
        run=index_unreachable,
    ),
    Scenario(
        name="index-replica-slow",
        faults=(9, 10),
        does="One replica of the index is slow, then all are.",
        expects="The hedge wins with <= 5 % extra calls; then hedging switches itself off.",
        not_applicable="The embedded index has no replicas; a cluster behind the port will have.",
    ),
    Scenario(
        name="embedder-replica-slow",
        faults=(9, 10),
        does="One of forty replicas of the embedder is slow, then all are.",
        expects="The hedge wins with <= 5 % extra calls; then hedging switches itself off.",
        run=replica_slow,
    ),
    Scenario(
        name="index-shard-missing",
        faults=(11,),
        does="A shard of a collection is missing.",
        expects="A partial result, labelled.",
        not_applicable="A tenant's collection is one shard of the embedded index: there is no part "
        "without the rest.",
    ),
    Scenario(
        name="embedder-down",
        faults=(12,),
        does="The embedder fails, then hangs, then refuses connections, then is there again.",
        expects="Lexical retrieval, labelled; no storm of retries; back to vectors.",
        run=embedder_down,
        quick=True,
    ),
    Scenario(
        name="reranker-slow",
        faults=(13,),
        does="The reranker takes 5 s, then none.",
        expects="Skipped at its deadline, labelled; used again when it is well.",
        run=reranker_slow,
        quick=True,
    ),
    Scenario(
        name="records-locked",
        faults=(27,),
        does="Another process holds the write lock of the records.",
        expects="Questions go on; writes are refused with a reason, and work afterwards.",
        run=records_locked,
        quick=True,
    ),
)
