"""The server itself is told to stop, killed, or held up."""

import asyncio
import signal
from typing import Final

from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.inspection import resident_bytes
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.scenarios.model import QUICK_MODEL, good_share
from ragstone.lab.chaos.verdict import among, at_least, at_most, equal

_STREAMING: Final = {"first_token_seconds": 0.1, "token_seconds": 0.1, "tokens": 30}
"""An answer takes three seconds."""

_DRAIN_SECONDS: Final = 5
"""`server.shutdown_seconds` of the sites."""


async def told_to_stop(bench: Bench) -> None:
    async with bench.site(services={"llm": _STREAMING}) as site:
        loading = asyncio.create_task(site.driver.load(at_rate(10, 2, site.asking())))
        await asyncio.sleep(1.8)
        began = site.driver.now()
        site.server.send(signal.SIGTERM)
        got = await loading
        code = await site.server.ended()
        took = site.driver.now() - began
        open_then = [t for t in got if t.scheduled < began - 0.2 and t.sent]
        bench.expect(
            equal("exit status", code, 0),
            at_most("time to the end", took, _DRAIN_SECONDS + 3, "s"),
            at_least("open streams that ended well", good_share(open_then), 1.0),
        )
        await site.http.close()
        await site.start_server()
        await site.llm.switch(token_seconds=1.0)
        loading = asyncio.create_task(site.driver.load(at_rate(10, 1, site.asking())))
        await asyncio.sleep(1.5)
        began = site.driver.now()
        site.server.send(signal.SIGTERM)
        got = await loading
        await site.server.ended()
        bench.expect(
            at_most("time to the end of long streams", site.driver.now() - began, 8, "s"),
            among("their ends", [t.outcome for t in got], ["shutting_down"]),
        )
        await site.http.close()
        await site.start_server()


async def killed(bench: Bench) -> None:
    async with bench.site(services={"llm": _STREAMING}) as site:
        loading = asyncio.create_task(site.driver.load(at_rate(10, 1.5, site.asking())))
        await asyncio.sleep(1.0)
        new = [{"id": f"new-{n}", "text": f"The rule of the xyzzy number {n}."} for n in range(20)]
        body = {"collection": "help", "documents": new}
        accepted = await site.call("POST", "/v1/documents", body, site.keys["acme"])
        site.server.send(signal.SIGKILL)
        await site.server.ended()
        cut = await loading
        site.driver.transcripts.clear()  # what a killed server leaves open has no end
        await site.http.close()
        began = site.driver.now()
        await site.start_server()
        took = site.driver.now() - began
        states = [await site.job_ended("acme", job["id"]) for job in accepted["jobs"]]
        found = await site.document_ids("acme")
        got = await site.driver.load(at_rate(10, bench.seconds(5, 2), site.asking()))
        bench.expect(
            at_least("streams that were cut", sum(t.end == "broken" for t in cut), 1),
            at_most("time until it serves again", took, 10, "s"),
            among("jobs that were accepted before", [s["state"] for s in states], ["done"]),
            equal("documents", len(found), 60),
            equal("different ones", len(set(found)), 60),
            at_least("good answers afterwards", good_share(got), 1.0),
        )


async def held_up(bench: Bench) -> None:
    """Stopped by a signal, the loop cannot tell it from a call that blocks it."""
    services = {"llm": QUICK_MODEL}
    async with bench.site(services=services) as site:
        seconds = bench.seconds(20, 5)
        loading = asyncio.create_task(site.driver.load(at_rate(20, seconds, site.asking())))
        await asyncio.sleep(seconds / 3)
        site.server.send(signal.SIGSTOP)
        await asyncio.sleep(2.0)
        site.server.send(signal.SIGCONT)
        healed = site.driver.now()
        got = await loading
        later = [t for t in got if t.scheduled > healed + 1.0]
        bench.expect(
            among("ends", [t.outcome for t in got], ["good", "refused_503"]),
            at_least("good answers a second after it", good_share(later), 1.0),
            at_most("slowest of these", max(t.seconds for t in later), 1.0, "s"),
        )


async def memory_pressure(bench: Bench) -> None:
    """A thousand streams that hardly move, and refusals for the rest."""
    slow = {"first_token_seconds": 0.2, "token_seconds": 1.0, "tokens": 8}
    settings = {
        "admission": {"in_flight": 200},
        "resilience": {"initial_concurrency": 200},
    }
    async with bench.site(services={"llm": slow}, settings=settings) as site:
        await site.driver.load(at_rate(20, 1, site.asking()))
        before = resident_bytes(site.server.pid)
        loading = asyncio.create_task(
            site.driver.load(at_rate(bench.seconds(150, 100), 5, site.asking()))
        )
        await asyncio.sleep(5.0)
        grown = (resident_bytes(site.server.pid) - before) / 1e6
        got = await loading
        bench.expect(
            at_most("memory grown", grown, 60, "MB"),
            at_least("refused beyond the bound", sum(t.refused for t in got), 1),
            at_least("good of the others", good_share([t for t in got if not t.refused]), 1.0),
        )


SCENARIOS: Final = (
    Scenario(
        name="told-to-stop",
        faults=(24,),
        does="SIGTERM with open streams, then with streams longer than the bound.",
        expects="Streams end within the bound, or with a typed event; a clean exit.",
        run=told_to_stop,
    ),
    Scenario(
        name="killed",
        faults=(24,),
        does="kill -9 with open streams, right after documents were accepted.",
        expects="Serves again within seconds; every accepted document is there once.",
        run=killed,
        quick=True,
    ),
    Scenario(
        name="held-up",
        faults=(25,),
        does="The server is stopped for two seconds under load, as by a blocked event loop.",
        expects="Every request ends; a second later all is normal.",
        run=held_up,
        quick=True,
    ),
    Scenario(
        name="memory-pressure",
        faults=(25,),
        does="Far more slow streams than may be in flight.",
        expects="Bounded memory; the rest is refused.",
        run=memory_pressure,
    ),
    Scenario(
        name="wall-clock-jumps",
        faults=(25,),
        does="The wall clock jumps.",
        expects="Timers hold.",
        not_applicable="A process cannot be given a clock of its own without the rights of root; "
        "the timers are monotonic, and tested on a clock that is passed in.",
    ),
)
