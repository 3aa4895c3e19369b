"""Those who ask the same at the same time share one generation, whoever of them leaves."""

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack, aclosing
from random import Random
from typing import Any

import pytest

from ragstone.domain.answer import Answer, Delta, Done, PassagesFound
from ragstone.domain.budget import Spender
from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    IndexUnavailable,
    ModelFailed,
    Overloaded,
    RagstoneError,
    ShuttingDown,
    TooManyRequests,
)
from ragstone.domain.principal import Principal
from ragstone.governance.ledger.counting import UsageLedger
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.flight import Flight, Flights
from ragstone.pipeline.replay_buffer import ReplayBuffer
from ragstone.resilience.admission import GatedAdmission
from ragstone.resilience.gate import Gate, GateSettings
from tests.pipeline.test_leaving import Pausing
from tests.pipeline.world import ANN, ASKED, TEXT, World
from tests.virtual_loop import run, running_clock

WORDS = ["Forty", "-five", " days", " after", " delivery", " [1]."]
TOLD = "".join(WORDS)


async def _world(*, first_delay: float = 1.0, delay: float = 0.1, **options: Any) -> World:
    clock = running_clock()
    model = ScriptedModel(WORDS, clock=clock, first_delay=first_delay, delay=delay, **options)
    world = World(model, clock=clock)
    # Whoever reads along needs no slot, and so no place in the queue.
    settings = GateSettings(queue=4, target_seconds=30.0, interval_seconds=60.0, tenant_share=1.0)
    gate = Gate("server", limit=lambda: 4, settings=settings, clock=clock)
    world.admission = GatedAdmission(gate, in_flight=4_000, clock=clock)
    world.cache = None  # type: ignore[assignment]
    await world.put("help")
    return world


class Client:
    """Asks one question and keeps what it was told."""

    def __init__(self, world: World, **more: Any) -> None:
        self.events: list[Any] = []
        self.error: BaseException | None = None
        self.task = asyncio.create_task(self._run(world, more))

    async def _run(self, world: World, more: dict[str, Any]) -> None:
        try:
            async with aclosing(world.events(**more)) as events:
                async for event in events:
                    self.events.append(event)
        except RagstoneError as error:
            self.error = error

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def done(self) -> Answer:
        [done] = [event for event in self.events if isinstance(event, Done)]
        assert self.events[-1] is done or self.events[-1] == done
        assert isinstance(self.events[0], PassagesFound)
        assert len([event for event in self.events if isinstance(event, PassagesFound)]) == 1
        return done.answer


async def _at_rest(world: World) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    world.assert_nothing_is_held()
    assert world.flights is not None
    assert len(world.flights) == 0
    assert len(asyncio.all_tasks()) == 1


async def _all(*clients: Client) -> None:
    await asyncio.wait([client.task for client in clients])


def test_a_thousand_identical_questions_are_one_generation() -> None:
    async def scenario() -> None:
        world = await _world()
        clients = [Client(world) for _ in range(1_000)]
        await _all(*clients)
        assert world.model is not None
        assert len(world.model.prompts) == 1
        assert {client.done.answer for client in clients} == {TOLD}
        assert {client.text for client in clients} == {TOLD}
        outcomes = [client.done.cache for client in clients]
        assert (outcomes.count("off"), outcomes.count("joined")) == (1, 999)
        assert {client.done.receipt.shared_by for client in clients} == {1_000}
        ledger = world.ledger
        assert isinstance(ledger, UsageLedger)
        assert sum(row.questions for row in ledger.rows) == 1_000
        assert sum(row.cached for row in ledger.rows) == 999
        assert ledger.settled("acme") == clients[0].done.usage
        joined = world.metrics.cache_requests.labels("question", "joined")
        assert joined.value == 999
        await _at_rest(world)

    run(scenario())


def test_the_leader_may_leave() -> None:
    async def scenario() -> None:
        world = await _world()
        leader, follower = Client(world), Client(world)
        await asyncio.sleep(1.15)  # in the middle of the text
        leader.task.cancel()
        await _all(leader, follower)
        assert follower.done.answer == follower.text == TOLD
        assert world.model is not None
        assert len(world.model.prompts) == 1
        await _at_rest(world)

    run(scenario())


def test_a_client_has_its_place_until_it_has_read_the_end() -> None:
    async def scenario() -> None:
        world = await _world()
        async with aclosing(world.events()) as events:
            await anext(events)
            await asyncio.sleep(10.0)
            assert world.flights is not None
            assert (len(world.flights), world.admission.in_flight) == (0, 1)
            assert isinstance([event async for event in events][-1], Done)
        await _at_rest(world)

    run(scenario())


def test_when_all_have_left_the_model_is_left_too() -> None:
    async def scenario() -> None:
        world = await _world()
        clients = [Client(world) for _ in range(3)]
        await asyncio.sleep(1.15)
        for client in clients:
            client.task.cancel()
        await _all(*clients)
        assert world.model is not None
        assert world.model.open_streams == 0
        await _at_rest(world)
        ledger = world.ledger
        assert isinstance(ledger, UsageLedger)
        assert 0 < ledger.settled("acme").output_tokens < len(TOLD) // 4  # of what was produced

    run(scenario())


def test_who_comes_late_is_told_from_the_start() -> None:
    async def scenario() -> None:
        world = await _world()
        first = Client(world)
        await asyncio.sleep(1.35)
        late = Client(world)
        await _all(first, late)
        assert late.done.cache == "joined"
        assert late.text == first.text == TOLD
        assert late.done.passages == first.done.passages
        await _at_rest(world)

    run(scenario())


def test_who_reads_too_slowly_for_the_buffer_gets_the_rest_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ReplayBuffer.__init__.__kwdefaults__ or {}, "max_chars", 8)

    async def scenario() -> None:
        world = await _world()
        first = Client(world)
        await asyncio.sleep(0)
        text, done = "", None
        async with aclosing(world.events()) as events:
            async for event in events:
                if isinstance(event, Delta):
                    text += event.text
                    await asyncio.sleep(5.0)
                elif isinstance(event, Done):
                    done = event.answer
        await _all(first)
        assert done is not None
        assert (text, done.cache) == (TOLD, "joined")
        await _at_rest(world)

    run(scenario())


def test_a_failing_model_fails_for_everybody_alike() -> None:
    async def scenario() -> None:
        world = await _world(error=ModelFailed("Broke."), error_after=3)
        clients = [Client(world) for _ in range(5)]
        await _all(*clients)
        assert [type(client.error) for client in clients] == [ModelFailed] * 5
        assert world.model is not None
        assert len(world.model.prompts) == 1
        await _at_rest(world)

    run(scenario())


def test_a_follower_with_little_time_leaves_for_an_extract_of_its_own() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=20.0)
        patient = Client(world, seconds=60.0)
        await asyncio.sleep(0.1)
        hurried = Client(world, seconds=2.0)
        await _all(hurried)
        assert hurried.done.answer_kind == "extractive"
        assert hurried.done.degraded == ["extractive_answer"]
        await _all(patient)
        assert patient.done.answer == TOLD
        await _at_rest(world)

    run(scenario())


def test_a_client_with_much_time_does_not_join_one_with_little() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=5.0)
        hurried = Client(world, seconds=2.0)
        await asyncio.sleep(0.1)
        patient = Client(world, seconds=60.0)
        await _all(hurried, patient)
        assert hurried.done.answer_kind == "extractive"
        assert patient.done.answer == TOLD
        await _at_rest(world)

    run(scenario())


def test_a_leaders_lack_of_time_is_not_the_followers() -> None:
    async def scenario() -> None:
        world = await _world(first_delay=11.0)
        leader = Client(world, seconds=10.0)
        await asyncio.sleep(0.1)
        followers = [Client(world, seconds=20.0) for _ in range(3)]
        await _all(leader, *followers)
        assert leader.done.answer_kind == "extractive"
        assert [client.done.answer for client in followers] == [TOLD] * 3
        assert world.model is not None
        assert len(world.model.prompts) == 2
        await _at_rest(world)

    run(scenario())


def test_a_question_that_finds_no_slot_begins_no_flight() -> None:
    class Grounded(Flights):
        def begin(self, *args: Any) -> Flight:
            raise AssertionError

    async def scenario() -> None:
        world = await _world()
        world.flights = Grounded()
        async with AsyncExitStack() as stack:
            for _ in range(4):
                admitted = world.admission.admit(ANN, priority="standard", weight=1, deadline=1e9)
                await stack.enter_async_context(admitted)
            acquire = world.admission.gate.acquire
            waiting = [
                asyncio.create_task(acquire(tenant="acme", priority="standard", deadline=1e9))
                for _ in range(4)
            ]
            await asyncio.sleep(0)
            refused = Client(world)
            await _all(refused)
            assert isinstance(refused.error, Overloaded | TooManyRequests)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        await _at_rest(world)

    run(scenario())


def test_a_critical_question_does_not_wait_as_a_sheddable_one() -> None:
    async def scenario() -> None:
        world = await _world()
        low = Client(world, principal=Principal(tenant="acme", priority="sheddable"))
        await asyncio.sleep(0.1)
        high = Client(world, principal=Principal(tenant="acme", priority="critical"))
        await asyncio.sleep(0.1)
        third = Client(world, principal=Principal(tenant="acme", priority="sheddable"))
        await _all(low, high, third)
        assert world.model is not None
        assert len(world.model.prompts) == 2
        assert (high.done.cache, third.done.cache) == ("off", "joined")
        await _at_rest(world)

    run(scenario())


def test_other_rights_are_another_question() -> None:
    async def scenario() -> None:
        world = await _world()
        clients = [
            Client(world, principal=Principal(tenant="acme", groups=frozenset(groups)))
            for groups in ([], ["staff"], ["staff", "managers"])
        ]
        await _all(*clients)
        assert world.model is not None
        assert len(world.model.prompts) == 3
        await _at_rest(world)

    run(scenario())


def test_who_asks_after_a_change_does_not_join_an_earlier_generation() -> None:
    async def scenario() -> None:
        world = await _world()
        before = Client(world)
        await asyncio.sleep(0.1)
        await world.put("help", TEXT.replace("45", "60"))
        after = Client(world)
        await _all(before, after)
        assert "45 days" in before.done.passages[0].text
        assert "60 days" in after.done.passages[0].text
        await _at_rest(world)

    run(scenario())


class RefusingLedger(UsageLedger):
    """Lets nobody share."""

    async def join(self, reservation: str, spender: Spender) -> bool:
        return False


def test_who_may_not_share_the_cost_asks_alone() -> None:
    async def scenario() -> None:
        world = await _world()
        world.ledger = RefusingLedger()
        clients = [Client(world)]
        await asyncio.sleep(0.1)
        clients += [Client(world) for _ in range(2)]
        await _all(*clients)
        assert world.model is not None
        assert len(world.model.prompts) == 3
        assert {client.done.answer for client in clients} == {TOLD}
        await _at_rest(world)

    run(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_whoever_leaves_and_whenever_nothing_is_left_behind(seed: int) -> None:
    async def attempt(steps: int, random: Random) -> bool:
        world = await _world(sleep=lambda _: asyncio.sleep(0))
        for name in ("embedder", "index", "records"):
            setattr(world, name, Pausing(getattr(world, name)))
        clients = [Client(world, streamed=random.random() < 0.7) for _ in range(4)]
        leaving = random.sample(clients, random.randint(1, 4))
        for client in leaving:
            for _ in range(random.randint(0, steps)):
                await asyncio.sleep(0)
            client.task.cancel()
            if random.random() < 0.3:
                await asyncio.sleep(0)
                client.task.cancel()
        await _all(*clients)
        assert all(client.done.answer == TOLD for client in clients if client not in leaving)
        await _at_rest(world)
        return all(not client.task.cancelled() for client in leaving)

    async def scenario() -> None:
        random = Random(seed)
        untouched = [await attempt(steps, random) for steps in range(60) for _ in range(3)]
        assert not all(untouched)

    run(scenario())


def test_a_whole_answer_is_read_from_a_streamed_one_and_not_the_other_way() -> None:
    async def scenario() -> None:
        world = await _world()
        streamed = Client(world)
        await asyncio.sleep(0.1)
        whole = Client(world, streamed=False)
        await _all(streamed, whole)
        assert whole.done.cache == "joined"
        whole = Client(world, streamed=False)
        await asyncio.sleep(0.1)
        streamed = Client(world)
        await _all(streamed, whole)
        assert (whole.done.cache, streamed.done.cache) == ("off", "off")
        await _at_rest(world)

    run(scenario())


def test_a_deadline_in_the_middle_of_the_text_is_each_clients_own() -> None:
    async def scenario() -> None:
        world = await _world(delay=2.0)
        patient = Client(world, seconds=30.0, text=ASKED)
        await asyncio.sleep(0.1)
        hurried = Client(world, seconds=4.0, text=ASKED)
        await _all(patient, hurried)
        assert isinstance(hurried.error, DeadlineExceeded)
        assert TOLD.startswith(hurried.text)
        assert hurried.text
        assert patient.done.answer == TOLD
        await _at_rest(world)

    run(scenario())


def test_who_is_sent_the_end_alone_is_not_failed_by_a_stream_that_breaks_off() -> None:
    async def scenario() -> None:
        world = await _world(error=ModelFailed("It broke off."), error_after=3)
        reader = Client(world)
        await asyncio.sleep(0.1)
        whole = Client(world, streamed=False)
        await _all(reader, whole)
        assert isinstance(reader.error, ModelFailed)
        assert whole.error is None
        done = whole.events[-1].answer
        assert (done.answer_kind, done.degraded) == ("extractive", ["extractive_answer"])
        await _at_rest(world)

    run(scenario())


def test_who_starts_over_does_so_together() -> None:
    """What a leader lacks costs one generation more, not one for each follower."""

    async def scenario() -> None:
        world = await _world()
        embed_query = world.embedder.embed_query
        asked: list[str] = []

        async def embed(text: str) -> list[float]:
            asked.append(text)
            if len(asked) == 1:
                await asyncio.sleep(0.5)
                raise BudgetExhausted("The leader's key has nothing left.")
            return await embed_query(text)

        world.embedder.embed_query = embed  # type: ignore[method-assign]
        leader = Client(world)
        await asyncio.sleep(0.1)
        followers = [Client(world) for _ in range(20)]
        await _all(leader, *followers)
        assert leader.done.degraded == ["lexical_only"]
        assert [client.done.degraded for client in followers] == [[]] * 20
        assert world.model is not None
        assert len(world.model.prompts) == 2
        await _at_rest(world)

    run(scenario())


def test_what_a_generation_raised_is_not_changed_by_its_readers_and_leaves_no_garbage() -> None:
    async def told(world: World) -> tuple[weakref.ref[BaseException], int]:
        try:
            async with aclosing(world.events()) as events:
                async for _ in events:
                    pass
        except IndexUnavailable as error:
            return weakref.ref(error), _frames(error)
        raise AssertionError

    async def scenario() -> list[tuple[weakref.ref[BaseException], int]]:
        world = await _world()

        async def search(*_: object) -> None:
            await asyncio.sleep(0.5)
            raise IndexUnavailable("It is away.")

        world.index.search = search  # type: ignore[assignment, method-assign]
        found = await asyncio.gather(*(told(world) for _ in range(100)))
        await _at_rest(world)
        return found

    gc.collect()
    gc.disable()
    try:
        found = run(scenario())
        assert [error() for error, _ in found] == [None] * 100
        assert max(frames for _, frames in found) < 30
    finally:
        gc.enable()


def _frames(error: BaseException) -> int:
    number, at = 0, error.__traceback__
    while at is not None:
        number, at = number + 1, at.tb_next
    return number


def test_a_generation_that_the_process_ends_is_an_error_to_those_who_saw_some_of_it() -> None:
    async def scenario() -> None:
        world = await _world()
        leader, follower = Client(world), Client(world)
        await asyncio.sleep(1.15)
        others = {leader.task, follower.task, asyncio.current_task()}
        [producer] = asyncio.all_tasks() - others
        producer.cancel()
        await _all(leader, follower)
        assert [type(client.error) for client in (leader, follower)] == [ShuttingDown] * 2
        await _at_rest(world)

    run(scenario())


def test_a_leader_that_left_pays_its_part_with_those_who_stay() -> None:
    async def scenario() -> None:
        world = await _world()
        leader, follower = Client(world), Client(world)
        await asyncio.sleep(1.15)
        leader.task.cancel()
        await _all(leader, follower)
        ledger = world.ledger
        assert isinstance(ledger, UsageLedger)
        assert ledger.settled("acme") == follower.done.usage
        assert follower.done.receipt.shared_by == 2
        assert sum(row.questions for row in ledger.rows) == 2
        await _at_rest(world)

    run(scenario())
