"""A simulator is switched while it runs, refuses what cannot be, and draws from its seed."""

import math
import random
from collections import Counter

import aiohttp
import pytest

from ragstone.domain.errors import InvalidExperiment, PortInUse
from ragstone.lab.adjustable import changed, read_change
from ragstone.lab.simulate.behaviour import Behaviour, Fault, Lognormal, draw
from ragstone.lab.simulate.http import Connection
from ragstone.lab.simulate.serve import listen
from ragstone.lab.simulate.text import answer_words, question_hash
from ragstone.lab.simulate.wheel import TICK_SECONDS, TimerWheel
from tests.lab.simulators import simulator
from tests.virtual_loop import VirtualLoop


async def test_a_part_of_the_behaviour_is_changed_and_the_rest_stays() -> None:
    async with simulator(tokens=9) as running, aiohttp.ClientSession(running.control) as http:
        async with http.put("/control", json={"places": 3}) as response:
            assert response.status == 200
        async with http.get("/control") as response:
            behaviour = await response.json()
        assert (behaviour["tokens"], behaviour["places"]) == (9, 3)
        async with http.post("/reset") as response:
            assert (await response.json())["places"] == 0


async def test_a_change_that_cannot_be_changes_nothing() -> None:
    async with simulator() as running, aiohttp.ClientSession(running.control) as http:
        async with http.put("/control", json={"tokens": 3, "plces": 1}) as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert error["code"] == "invalid_experiment"
        assert "'plces'" in error["message"]
        assert error["remedy"] == "Did you mean 'places'?"
        assert running.simulator.behaviour == Behaviour()


async def test_statistics_tell_requests_outcomes_and_attempts_at_a_question() -> None:
    async with simulator() as running, aiohttp.ClientSession(running.control) as http:
        for question in ("a", "a", "b"):
            body = {"model": "m", "messages": [{"role": "user", "content": question}]}
            async with http.post("/v1/chat/completions", json=body) as response:
                assert response.status == 200
        async with http.post("/v1/chat/completions", data=b"{") as response:
            assert response.status == 400
        async with http.get("/stats") as response:
            stats = await response.json()
        async with http.get("/stats/questions") as response:
            attempts = await response.json()
        async with http.get("/stats/starts") as response:
            starts = await response.json()
        async with http.get("/elsewhere") as response:
            assert response.status == 404
    assert stats["requests"] == 4
    assert stats["outcomes"] == {"complete": 3, "bad_request": 1}
    assert attempts[question_hash("a")] == 2
    assert stats["most_attempts"] == 2
    assert [question for question, _ in starts[:3]] == [*map(question_hash, "aab")]
    assert [at for _, at in starts] == sorted(at for _, at in starts)


async def test_statistics_tell_the_tokens_that_a_provider_would_charge_for() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "What is it?!"}], "stream": True}
    async with (
        simulator(tokens=9, thinking_tokens=2) as running,
        aiohttp.ClientSession(running.control) as http,
    ):
        async with http.post("/v1/chat/completions", json={**body, "stream": False}) as response:
            usage = (await response.json())["usage"]
        async with http.post("/v1/chat/completions", json=body) as response:
            await response.read()
        await http.put("/control", json={"faults": [{"kind": "cut", "after_tokens": 4}]})
        async with http.post("/v1/chat/completions", json=body) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        await http.put("/control", json={"faults": [{"kind": "error"}]})
        async with http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 500
        async with http.get("/stats") as response:
            stats = await response.json()
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 9)
    assert stats["input_tokens"] == {"complete": 6, "cut": 3}
    assert stats["output_tokens"] == {"complete": 18, "cut": 4}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b'{"tokens": 0}', "tokens"),
        (b'{"tokens": "many"}', "tokens"),
        (b'{"first_token_seconds": {"medium": 1}}', "'medium'"),
        (b'{"faults": [{"kind": "err"}]}', "err"),
        (b'{"faults": [{"kind": "error", "shar": 1}]}', "'shar'"),
        (b'{"faults": [{"kind": "error", "share": 0.6}, {"kind": "cut", "share": 0.6}]}', "shares"),
    ],
)
def test_what_cannot_be_is_named(change: bytes, named: str) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        changed(Behaviour(), change, what="behaviour")
    assert named in str(caught.value)
    assert caught.value.remedy


def test_a_behaviour_is_given_inline_or_by_a_file(tmp_path) -> None:
    file = tmp_path / "slow.json"
    file.write_text('{"tokens": 7}')
    assert read_change(str(file), what="behaviour") == b'{"tokens": 7}'
    assert read_change(' {"tokens": 7}', what="behaviour") == b' {"tokens": 7}'
    with pytest.raises(InvalidExperiment, match=r"absent\.json.*cannot be read"):
        read_change(str(tmp_path / "absent.json"), what="behaviour")


def test_faults_come_in_their_shares_and_the_same_for_a_seed() -> None:
    behaviour = Behaviour(
        faults=[Fault(kind="error", share=0.2), Fault(kind="reset", share=0.1)], seed=7
    )

    def drawn() -> list[str | None]:
        chance = random.Random(behaviour.seed)
        return [getattr(behaviour.fault(chance), "kind", None) for _ in range(5000)]

    counts = Counter(drawn())
    assert counts["error"] == pytest.approx(1000, abs=120)
    assert counts["reset"] == pytest.approx(500, abs=90)
    assert drawn() == drawn()


def test_a_lognormal_time_has_its_median() -> None:
    chance = random.Random(1)
    drawn = sorted(draw(Lognormal(median=0.4, sigma=0.5), chance) for _ in range(5001))
    assert drawn[2500] == pytest.approx(0.4, rel=0.05)
    # 84.13 % of a normal distribution lie below one sigma.
    assert drawn[4207] == pytest.approx(0.4 * math.exp(0.5), rel=0.07)


def test_answers_end_with_a_citation_of_the_passage_they_come_from() -> None:
    prompt = "<passages>\n[1] T\n" + "a " * 30 + "\n\n[2] U\nb c\n</passages>"
    for tokens in range(1, 80):
        words = answer_words(prompt, tokens)
        assert len(words) == tokens
        assert words[-1].strip() in ("[1]", "[2]")
    assert answer_words(prompt, 28)[-3:] == [" b", " c", " [2]"]
    assert len(answer_words("no passages here", 5)) == 5


async def test_a_port_in_use_is_named() -> None:
    server = await listen(lambda: Connection(lambda *_: None), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(PortInUse, match=f"Port {port}"):
            await listen(lambda: Connection(lambda *_: None), "127.0.0.1", port)
    finally:
        server.close()


def test_the_wheel_calls_in_order_never_early_and_at_most_two_ticks_late() -> None:
    loop = VirtualLoop()
    try:
        wheel = TimerWheel(loop)
        chance = random.Random(3)
        due = [chance.random() for _ in range(500)]
        called: list[tuple[float, float]] = []
        for when in due:
            at = loop.time() + when
            wheel.at(at, lambda at=at: called.append((at, loop.time())))
        loop.call_later(2.0, loop.stop)
        loop.run_forever()
    finally:
        loop.close()
    assert len(called) == len(due)
    assert all(0 <= now - at <= 2 * TICK_SECONDS for at, now in called)
