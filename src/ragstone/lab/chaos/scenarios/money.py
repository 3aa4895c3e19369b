"""Clients leave, processes are killed and the records are locked, under budgets."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ragstone.lab.chaos.corpus import TENANTS
from ragstone.lab.chaos.driver import at_rate, together
from ragstone.lab.chaos.inspection import children
from ragstone.lab.chaos.money import (
    BILLED,
    charged,
    really_used,
    set_budget,
    settled,
    watched,
)
from ragstone.lab.chaos.records_lock import locked
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import good_share, kinds
from ragstone.lab.chaos.site import Site
from ragstone.lab.chaos.transcript import Ask, Transcript
from ragstone.lab.chaos.verdict import among, at_least, at_most, equal, none_of

_STREAMING: Final = {"first_token_seconds": 0.1, "token_seconds": 0.05, "tokens": 30}
_PLENTY: Final = 1_000.0
"""Dollars."""


async def leave_under_a_budget(bench: Bench) -> None:
    async with bench.site(services={"llm": _STREAMING}, settings=BILLED) as site:
        await set_budget(site, _PLENTY)
        keys = [await site.make_key("acme", user=user) for user in ("stays", "leaves")]
        asking = site.asking()

        def ask(number: int) -> Ask:
            leaves = number % 2
            return replace(
                asking(number), key=keys[leaves], leave_after_deltas=3 if leaves else None
            )

        got = await site.driver.load(at_rate(20, bench.seconds(30, 3), ask))
        paid, used = await charged(site, "user"), await really_used(site)
        of_left = paid.get("leaves", 0) / used.get("left", 1)
        of_written = "charged to those who left, of what was written"
        bench.expect(
            at_least("clients that left", sum(t.end == "left" for t in got), len(got) // 2),
            at_least("good answers of those who stayed", good_share(got), 0.5),
            equal("charged to those who stayed, nano-dollars", paid["stays"], used["complete"]),
            at_most(of_written, of_left, 1.25),
            equal("settled in the budget", await settled(site), sum(paid.values())),
        )
        if bench.timed:  # a server that is held up has not read all when it closes a call
            bench.expect(at_least(of_written, of_left, 1.0))


async def killed_under_a_budget(bench: Bench) -> None:
    settings = {**BILLED, "server": {"workers": 2, "restarts": 100}}
    async with bench.site(services={"llm": _STREAMING}, settings=settings) as site:
        await set_budget(site, _PLENTY)
        sample = await site.driver.load(at_rate(10, 1, site.asking()))
        each = sum((await charged(site, "model")).values()) / len(sample)
        rounds, seconds, rate = 1 if bench.quick else 4, bench.seconds(8, 4), 10
        limit = round(each * (len(sample) + 0.6 * 3 * rounds * seconds * rate))
        await set_budget(site, limit / 1e9)
        cut: list[Transcript] = []
        told = sum(map(_receipt, sample))
        async with watched(site) as watch:
            for victim in ("gateway", "engine", "server") * rounds:
                loading = asyncio.create_task(
                    site.driver.load(at_rate(rate, seconds, site.asking()))
                )
                await asyncio.sleep(seconds / 2)
                await _kill(site, victim, random.Random(len(cut)))
                got = await loading
                cut += [t for t in got if t.end == "broken"]
                told += sum(map(_receipt, got))
        for transcript in cut:  # what a killed process leaves open has no end
            site.driver.transcripts.remove(transcript)
        paid, used = await charged(site, "model"), sum((await really_used(site)).values())
        total = sum(paid.values())
        bench.expect(
            at_least("streams that were cut", len(cut), 1),
            at_least("looks at the budget", watch.looks, 10),
            none_of("budgets overspent meanwhile", watch.overspent),
            at_least("charged, of what the model was used", total / used, 1.0),
            at_least("charged, of what clients were told", paid["simulated"] / told, 1.0),
            at_most("charged, of the budget", total / limit, 1.0),
            at_least("used, of the budget", used / limit, 0.4),
            equal("settled in the budget", await settled(site), total),
        )


def _receipt(transcript: Transcript) -> int:
    """What the client was told that its answer cost, in nano-dollars."""
    return int(transcript.answer["receipt"]["nanodollars"]) if transcript.answer else 0


async def _kill(site: Site, victim: str, chance: random.Random) -> None:
    """Of a whole server all processes at once, and it is started again."""
    processes, engine = children(site.server.pid), site.engine_pid()
    if victim == "engine":
        os.kill(engine, signal.SIGKILL)
        return
    gateways = [pid for pid in processes if pid != engine]
    if victim == "gateway":
        os.kill(chance.choice(gateways), signal.SIGKILL)
        return
    site.server.send(signal.SIGKILL)
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await site.server.ended()
    await site.http.close()
    await site.start_server()


async def records_locked_under_a_budget(bench: Bench) -> None:
    async with bench.site(services={"llm": _STREAMING}, settings=BILLED) as site:
        await set_budget(site, 0.5)
        await site.driver.load(at_rate(5, 2, site.asking()))
        seconds = bench.seconds(20, 6)
        with locked(site.home):
            both = await site.driver.load(
                together(
                    at_rate(5, seconds, site.asking()), at_rate(2, seconds, site.asking("globex"))
                )
            )
        await asyncio.sleep(1.0)
        after = await site.driver.load(at_rate(5, 2, site.asking()))
        paid = await _charged_to("acme", site)
        used = sum((await really_used(site)).values())
        bound, free = ([t for t in both if t.ask.tenant == tenant] for tenant in TENANTS)
        unwritten = [t for t in bound if t.answer and t.answer["answer_kind"] != "generated"]
        bench.expect(
            at_least("written within what was leased", len(bound) - len(unwritten), 5),
            at_least("not written beyond it", len(unwritten), 1),
            at_least("good answers, these included", good_share(bound), 1.0),
            none_of("without their label", _unlabelled(unwritten)),
            at_most("slowest end", max(t.seconds for t in both), 4, "s"),
            among("kinds of answers to a tenant without a budget", kinds(free), ["generated"]),
            at_least("good answers to it", good_share(free), 1.0),
            at_least("good answers afterwards", good_share(after), 1.0),
            among("their kinds", kinds(after), ["generated"]),
            equal("charged, nano-dollars", paid + await _charged_to("globex", site), used),
            equal("settled in the budget", await settled(site), paid),
        )


async def _charged_to(tenant: str, site: Site) -> int:
    return sum((await charged(site, "model", tenant)).values())


def _unlabelled(transcripts: Sequence[Transcript]) -> list[str]:
    return [str(t.degraded) for t in transcripts if "extractive_answer" not in t.degraded]


SCENARIOS: Final = (
    Scenario(
        name="leaving-under-a-budget",
        faults=(22,),
        does="Every second client of a model that is paid for leaves after three deltas.",
        expects="No reservation is left; charged is what was written, once.",
        run=leave_under_a_budget,
        quick=True,
    ),
    Scenario(
        name="killed-under-a-budget",
        faults=(24,),
        does="kill -9 of gateways, engines and whole servers with open streams, under a budget "
        "for 60 % of the questions.",
        expects="What the model was used for <= what is charged <= the budget, at any time.",
        run=killed_under_a_budget,
    ),
    Scenario(
        name="records-locked-under-a-budget",
        faults=(27,),
        does="Another process holds the write lock of the records while questions cost money.",
        expects="They go on within what is leased, then with labelled extracts; nothing hangs.",
        run=records_locked_under_a_budget,
        quick=True,
    ),
)
