"""Each rung as the response shows it: under load, after failures, and on the way to the cache."""

import math
from random import Random

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.clock import SystemClock
from ragstone.domain.errors import (
    CircuitOpen,
    DeadlineExceeded,
    DependencyBusy,
    IndexUnavailable,
    ModelTimedOut,
    ModelUnreachable,
    Overloaded,
    TooManyRequests,
)
from ragstone.domain.principal import Principal
from ragstone.domain.usage import Usage
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.tell import outcome_of
from ragstone.resilience.dependency import Dependency
from ragstone.resilience.model_route import GuardedRoute
from ragstone.resilience.retry import RetrySettings
from tests.pipeline.world import ASKED, TEXT, World, pressed_ladder

CLOCK = SystemClock()


def _model(*deltas: str, **options) -> ScriptedModel:
    return ScriptedModel(deltas or ("Forty-five [1].",), clock=CLOCK, **options)


async def _world(level: int = 0, *, model: ScriptedModel | None = None) -> World:
    world = World(model or _model())
    world.ladder = pressed_ladder(level)
    await world.put("help")
    return world


class Backwards:
    """Implements `ports.Reranker`."""

    name = "backwards"

    async def rerank(self, question, passages, *, deadline):
        return list(reversed(passages))

    async def close(self) -> None:
        pass


async def test_joined_chunks_are_said_and_change_nothing_else() -> None:
    world = await _world(model=_model("Forty-", "five [1].", joined=True))
    _, done = await world.ask()
    assert done.degraded == ["chunks_joined"]
    assert outcome_of(done.degraded, not_found=done.answer_kind == "not_found") == "ok"
    assert (await world.ask())[1].cache == "hit"


async def test_the_reranker_is_skipped() -> None:
    world = await _world(1)
    world.reranker = Backwards()
    assert (await world.ask())[1].degraded == ["reranker_skipped"]


async def test_fewer_passages_are_said_where_some_were_left_out() -> None:
    for copies, expected in ((1, []), (3, ["fewer_passages"])):
        world = await _world(2)
        for number in range(copies):
            await world.put("help", f"{TEXT} {number} {'More of it. ' * 110}", name=f"d{number}")
        _, done = await world.ask()
        assert done.degraded == expected
        assert done.passages


@pytest.mark.parametrize(("reason", "cut"), [("stop", False), ("length", True)])
async def test_a_shorter_answer_is_said_where_it_was_cut(reason, cut) -> None:
    world = await _world(3, model=_model(reason=reason))
    _, done = await world.ask()
    assert world.model.prompts[0].max_tokens == 50
    assert done.degraded == (["shorter_answer", "answer_cut_by_length"] if cut else [])
    assert ((await world.ask())[1].cache == "hit") is not cut


@pytest.mark.parametrize("reason", ["length", "filtered", "other"])
async def test_an_answer_that_did_not_end_as_it_should_says_so_and_is_not_kept(reason) -> None:
    world = await _world(0, model=_model(reason=reason))
    _, done = await world.ask()
    assert done.degraded == [f"answer_cut_by_{reason}"]
    assert (await world.ask())[1].cache == "miss"


async def test_under_load_the_extract_is_made_of_words_alone() -> None:
    world = await _world(4)
    world.model = None
    _, done = await world.ask()
    assert done.answer_kind == "extractive"
    assert done.degraded == ["extract_lexical"]


async def test_load_does_not_keep_a_model_with_room_from_writing() -> None:
    world = await _world(5)
    assert (await world.ask())[1].answer_kind == "generated"


@pytest.mark.parametrize("model", [_model(error=DependencyBusy("Full.")), None])
async def test_at_last_the_passages_are_given_without_pretending(model) -> None:
    world = await _world(5)
    world.model = model
    for _ in range(2):  # nothing of it is kept
        _, done = await world.ask()
        assert done.answer_kind == "passages"
        assert done.answer == ASSISTANT.passages_only
        assert done.degraded == ["passages_only"]
        assert (done.cache, done.citations) == ("miss", [])
        assert done.passages
        assert outcome_of(done.degraded, not_found=done.answer_kind == "not_found") == "degraded"


async def test_critical_questions_are_a_rung_behind_and_sheddable_ones_ahead() -> None:
    world = await _world(4)
    world.model = None
    for priority, degraded in (
        ("critical", []),
        ("standard", ["extract_lexical"]),
        ("sheddable", ["passages_only"]),
    ):
        who = Principal(tenant="acme", priority=priority)
        _, done = await world.ask(f"{ASKED} {priority}?", principal=who)
        assert done.degraded == degraded


async def test_an_extract_after_a_model_that_was_full_is_made_in_its_slot_and_of_words() -> None:
    world = await _world(model=_model(error=DependencyBusy("Full.")))
    _, done = await world.ask()
    assert done.degraded == ["extractive_answer", "extract_lexical"]


async def test_kept_answers_are_served_on_every_rung_and_without_the_index() -> None:
    world = await _world()
    await world.ask()

    class Gone:
        async def search(self, principal, request):
            raise IndexUnavailable("The index is cut off.", retry_after=5.0)

    world.index = Gone()
    world.ladder = pressed_ladder(5)
    _, done = await world.ask()
    assert (done.cache, done.answer_kind, done.degraded) == ("hit", "generated", [])
    with pytest.raises(IndexUnavailable):
        await world.ask("Something else?")
    world.assert_nothing_is_held()


@pytest.mark.parametrize(
    "error",
    [
        CircuitOpen("Cut off."),
        DependencyBusy("Full."),
        ModelTimedOut("Silent."),
        ModelUnreachable("Gone."),
        DeadlineExceeded("Late."),
    ],
)
async def test_a_route_that_fails_before_its_first_word_is_replaced(error) -> None:
    world = await _world(model=_model(error=error))
    _, done = await world.ask()
    assert done.answer_kind == "extractive"
    assert done.degraded[0] == "extractive_answer"
    assert [notice.code for notice in done.notices] == [error.code]


def _busy(cause: Exception | None) -> DependencyBusy:
    error = DependencyBusy("Busy.")
    error.__cause__ = cause
    return error


async def test_a_model_that_is_full_is_pressure_of_its_class() -> None:
    world = await _world(model=_model(error=_busy(Overloaded("Full."))))
    seen: list[tuple[float, str]] = []
    world.ladder.observe_first_token = lambda *told: seen.append(told)  # type: ignore[method-assign]
    await world.ask(principal=Principal(tenant="acme", priority="sheddable"))
    world.model = _model()
    await world.ask()
    assert seen[0] == (math.inf, "sheddable")
    assert 0 <= seen[1][0] < 10


@pytest.mark.parametrize("cause", [None, TooManyRequests("This tenant has its share.")])
async def test_a_pause_a_throttle_or_one_tenants_share_is_no_pressure(cause) -> None:
    world = await _world(model=_model(error=_busy(cause)))
    seen: list[tuple[float, str]] = []
    world.ladder.observe_first_token = lambda *told: seen.append(told)  # type: ignore[method-assign]
    assert (await world.ask())[1].answer_kind == "extractive"
    assert seen == []


async def test_a_fallback_is_named_billed_and_not_kept() -> None:
    world = await _world()
    models = [
        _model(error=ModelUnreachable("Gone."), name="first"),
        _model(name="second", usage=Usage(input_tokens=9, output_tokens=3)),
    ]
    world.route = GuardedRoute(
        [(model, Dependency(model.name, clock=world.clock)) for model in models],
        clock=world.clock,
        random=Random(1),
        retry=RetrySettings(attempts=1, budget=0.0),
    )
    for _ in range(2):
        _, done = await world.ask()
        assert (done.model, done.degraded, done.cache) == ("second", ["fallback_model"], "miss")
    assert world.ledger.settled("acme") == Usage(input_tokens=18, output_tokens=6)
