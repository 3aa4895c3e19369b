"""The language model refuses, stalls, breaks off or writes nonsense."""

from collections.abc import Sequence
from typing import Any, Final

from ragstone.lab.chaos.driver import at_rate
from ragstone.lab.chaos.scenario import Bench, Scenario
from ragstone.lab.chaos.simulated import Switchable
from ragstone.lab.chaos.transcript import Transcript
from ragstone.lab.chaos.verdict import among, at_least, at_most, equal, none_of

QUICK_MODEL: Final[dict[str, Any]] = {
    "first_token_seconds": 0.05,
    "token_seconds": 0.005,
    "tokens": 12,
}
"""A model in good health."""


def kinds(transcripts: Sequence[Transcript]) -> list[str]:
    """Of the finished answers: generated, extractive or not_found."""
    return [t.answer["answer_kind"] for t in transcripts if t.answer]


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def good_share(transcripts: Sequence[Transcript]) -> float:
    return share(sum(t.good for t in transcripts), len(transcripts))


async def calls(service: Switchable) -> int:
    """So far."""
    return int((await service.stats())["requests"])


async def rate_limited(bench: Bench) -> None:
    refusing = {**QUICK_MODEL, "faults": [{"kind": "rate_limit", "retry_after": 20}]}
    async with bench.site(services={"llm": refusing}) as site:
        seconds = bench.seconds(18, 3)
        got = await site.driver.load(at_rate(5, seconds, site.asking()))
        bench.expect(
            at_least("good answers", good_share(got), 1.0),
            among("kinds of answers", kinds(got), ["extractive"]),
            at_most("calls before the 20 s are over", await calls(site.llm), 1),
            none_of("answers without their label", _unlabelled(got, "extractive_answer")),
        )
    services = {"llm": refusing, "fallback": QUICK_MODEL}
    async with bench.site(services=services) as site:
        got = await site.driver.load(at_rate(5, bench.seconds(6, 2), site.asking()))
        bench.expect(
            among("kinds of answers with a fallback", kinds(got), ["generated"]),
            none_of("answers without the fallback's label", _unlabelled(got, "fallback_model")),
        )


async def quota_exhausted(bench: Bench) -> None:
    empty = {**QUICK_MODEL, "faults": [{"kind": "quota"}]}
    async with bench.site(services={"llm": empty, "fallback": QUICK_MODEL}) as site:
        got = await site.driver.load(at_rate(5, bench.seconds(15, 2), site.asking()))
        bench.expect(
            among("kinds of answers", kinds(got), ["generated"]),
            at_least("good answers", good_share(got), 1.0),
            at_most("calls at the empty account", await calls(site.llm), 1),
            none_of("answers without the fallback's label", _unlabelled(got, "fallback_model")),
        )
        await site.services["fallback"].switch(faults=[{"kind": "quota"}])
        got = await site.driver.load(at_rate(5, 2, site.asking()))
        bench.expect(among("kinds of answers with both empty", kinds(got), ["extractive"]))


async def first_token_never(bench: Bench) -> None:
    limit = bench.seconds(5, 0.6)
    silent = {**QUICK_MODEL, "faults": [{"kind": "silence"}]}
    async with bench.site(
        services={"llm": silent, "fallback": QUICK_MODEL},
        settings={"llm": {"first_token_seconds": limit}},
    ) as site:
        got = await site.driver.load(at_rate(4, bench.seconds(15, 3), site.asking()))
        longest = max(t.seconds for t in got)
        bench.expect(
            at_least("good answers", good_share(got), 1.0),
            among("kinds of answers", kinds(got), ["generated"]),
            at_most("longest answer", longest, limit + 1.5, "s"),
            at_most("calls for each question at the fallback", await _most(site, "fallback"), 1),
            at_most("calls for each question at the silent one", await _most(site, "llm"), 1),
        )


async def silent_midway(bench: Bench) -> None:
    gap = bench.seconds(5, 0.6)
    for pings in (0.0, 0.2):
        fault = {"kind": "silence", "after_tokens": 20}
        model = {**QUICK_MODEL, "tokens": 40, "faults": [fault], "ping_seconds": pings}
        async with bench.site(
            services={"llm": model, "fallback": QUICK_MODEL},
            settings={"llm": {"gap_seconds": gap}},
        ) as site:
            # All are in flight at once: more than a limit begins with would go to the fallback.
            got = await site.driver.load(at_rate(5, bench.seconds(2.4, 1), site.asking()))
            with_pings = " with pings" if pings else ""
            lasted = [t.ended - t.events[-2].at for t in got if len(t.events) > 1]
            bench.expect(
                among(f"ends{with_pings}", [t.outcome for t in got], ["model_timed_out"]),
                at_least("shortest silence", min(lasted, default=0), gap - 0.1, "s"),
                at_most("longest silence", max(lasted, default=99), gap + 1.0, "s"),
                at_least("words told", min(len(t.text.split()) for t in got), 15),
                equal("calls at the fallback", await calls(site.services["fallback"]), 0),
            )


async def pings_only(bench: Bench) -> None:
    limit = bench.seconds(5, 0.8)
    model = {**QUICK_MODEL, "faults": [{"kind": "silence"}], "ping_seconds": 0.1}
    async with bench.site(
        services={"llm": model}, settings={"llm": {"first_token_seconds": limit}}
    ) as site:
        got = await site.driver.load(at_rate(4, bench.seconds(6, 2), site.asking()))
        bench.expect(
            among("kinds of answers", kinds(got), ["extractive"]),
            at_least("good answers", good_share(got), 1.0),
            at_most("longest answer", max(t.seconds for t in got), limit + 1.5, "s"),
        )


async def long_thinking(bench: Bench) -> None:
    limit = bench.seconds(20, 2)
    thinking = {**QUICK_MODEL, "thinking_tokens": 50, "ping_seconds": 0.1}
    thinking["token_seconds"] = 0.75 * limit / 50
    async with bench.site(
        services={"llm": {**thinking, "tokens": 4}},
        settings={"llm": {"first_token_seconds": limit}},
    ) as site:
        # All are in flight at once: no more than a limit begins with.
        got = await site.driver.load(at_rate(4, bench.seconds(3, 1), site.asking()))
        bench.expect(
            among("kinds of answers", kinds(got), ["generated"]),
            at_least("good answers", good_share(got), 1.0),
            at_least("shortest wait for a text", _least(t.first_text for t in got), limit / 2, "s"),
        )


async def error_midway(bench: Bench) -> None:
    async with bench.site(services={"llm": QUICK_MODEL, "fallback": QUICK_MODEL}) as site:
        for kind in ("error_event", "reset", "cut", "garbage_event"):
            await site.llm.switch(faults=[{"kind": kind, "after_tokens": 4, "share": 0.4}])
            got = await site.driver.load(at_rate(10, bench.seconds(5, 1), site.asking()))
            broken = [t for t in got if t.answer is None]
            bench.expect(
                at_least(f"streams that {kind} struck", len(broken), 1),
                none_of("struck streams without text", [t.outcome for t in broken if not t.text]),
                among("their ends", [t.outcome for t in broken], _TYPED),
            )
        # A breaker that so many failures open sends later questions to the fallback; none twice.
        made = await calls(site.llm) + await calls(site.services["fallback"])
        bench.expect(at_most("calls", made, len(site.driver.transcripts)))


_TYPED: Final = ("model_failed", "model_protocol_error", "model_unreachable")


async def malformed(bench: Bench) -> None:
    model = {**QUICK_MODEL, "tokens": 8}
    async with bench.site(services={"llm": model}) as site:
        expected = (await site.driver.ask(site.asking()(1))).text
        for slicing in ("byte", "half", "several"):
            for line_end in ("lf", "crlf", "cr"):
                await site.llm.switch(slicing=slicing, line_end=line_end, comments=True)
                told = await site.driver.ask(site.asking()(1))
                bench.expect(
                    equal(f"text, cut by {slicing}, ended by {line_end}", told.text, expected)
                )
        await site.llm.reset()
        for fault in ("garbage", "garbage_event", "cut"):
            await site.llm.switch(faults=[{"kind": fault, "share": 0.3}])
            got = await site.driver.load(at_rate(10, bench.seconds(4, 1), site.asking()))
            bench.expect(
                at_least(f"good answers with {fault} at the start", good_share(got), 1.0),
                among("kinds of answers", kinds(got), ["generated", "extractive"]),
            )


async def _most(site: Any, service: str) -> int:
    attempts = await site.services[service].most_attempts()
    return max(attempts.values(), default=0)


def _unlabelled(transcripts: Sequence[Transcript], rung: str) -> list[str]:
    return [str(t.degraded) for t in transcripts if t.good and rung not in t.degraded]


def _least(values: Any) -> float:
    return min((value for value in values if value is not None), default=0.0)


SCENARIOS: Final = (
    Scenario(
        name="model-rate-limited",
        faults=(14,),
        does="The model answers 429 with Retry-After: 20; then with a fallback beside it.",
        expects="No call before the 20 s are over; extractive answers, or the fallback's.",
        run=rate_limited,
        quick=True,
    ),
    Scenario(
        name="model-quota-exhausted",
        faults=(15,),
        does="The model's account is out of credit; then the fallback's too.",
        expects="Not retried; the fallback answers, then extractive answers.",
        run=quota_exhausted,
        quick=True,
    ),
    Scenario(
        name="model-first-token-never",
        faults=(16,),
        does="The model accepts and never writes; a fallback stands by.",
        expects="One failover within the deadline.",
        run=first_token_never,
        quick=True,
    ),
    Scenario(
        name="model-silent-midway",
        faults=(17, 18),
        does="Silence after 20 tokens, without and with keep-alive pings.",
        expects="One typed terminal error at the gap limit.",
        run=silent_midway,
        quick=True,
    ),
    Scenario(
        name="model-pings-only",
        faults=(18,),
        does="Keep-alive pings and no content.",
        expects="Caught at the limit for the first content; an extractive answer.",
        run=pings_only,
        quick=True,
    ),
    Scenario(
        name="model-long-thinking",
        faults=(19,),
        does="Thinking with pings for three quarters of the limit for the first content.",
        expects="Not cut off.",
        run=long_thinking,
        quick=True,
    ),
    Scenario(
        name="model-error-midway",
        faults=(20,),
        does="Errors, resets, cuts and nonsense after four tokens of 40 % of the streams.",
        expects="One terminal event, no text twice, no second call.",
        run=error_midway,
        quick=True,
    ),
    Scenario(
        name="model-malformed-stream",
        faults=(21,),
        does="Streams cut at every byte and otherwise, all line ends; then HTML and broken events.",
        expects="The same text; what cannot be read is replaced before the first token.",
        run=malformed,
        quick=True,
    ),
)
