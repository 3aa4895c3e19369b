"""A question that was told a kept answer, asked again: what is told, and when it is not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from ragstone.domain.answer import Answer
from ragstone.domain.budget import Spender, Standing
from ragstone.domain.clock import SystemClock
from ragstone.domain.collection import Collection
from ragstone.domain.errors import BudgetExhausted
from ragstone.models.llms.fake import ScriptedModel
from ragstone.pipeline.again import Again, Retelling
from ragstone.pipeline.answer import begin, kept_json
from ragstone.pipeline.keeping import Keeping
from ragstone.pipeline.services import AtHand
from ragstone.ports import Kept
from tests.pipeline.world import World


@dataclass
class Hand:
    """What the process knows, which a test may change."""

    collection: Collection | None
    kept: Callable[[bytes], Kept | None]
    standing: Standing | Exception | None = "normal"

    def at_hand(self) -> AtHand:
        return AtHand(
            key=lambda _: None,
            collection=lambda tenant, name: self.collection,
            kept=lambda key: self.kept(key),
            standing=self.stand,
        )

    def stand(self, spender: Spender) -> Standing | None:
        if isinstance(self.standing, Exception):
            raise self.standing
        return self.standing


async def hit(world: World) -> tuple[Again, Hand, bytes]:
    """What a question that was told a kept answer leaves, and what it was told."""
    await world.put("help")
    await world.ask()
    asked, services = world.asked(streamed=False), world.services()
    begun = await begin(asked, services)
    assert begun.found.kept is not None
    told = await kept_json(asked, begun.found.kept, begun, services)
    hand = Hand(begun.found.collection, world.cache.get_at_once)
    return Again.of(asked, begun.found), hand, told


def retelling(world: World, hand: Hand) -> Retelling:
    return Retelling(hand.at_hand(), world.services())


async def test_it_says_the_same_as_the_first_time() -> None:
    world = World(ScriptedModel(["Forty-five days [1]."], clock=SystemClock()))
    again, hand, ordinary = await hit(world)
    rows = list(world.ledger.rows)
    said = retelling(world, hand)
    found = said.find(again)
    assert found is not None
    body = said.tell(again, found, {"recall": 1.0, "total": 2.0}, "ab" * 16)
    first, second = (msgspec.json.decode(each, type=Answer) for each in (ordinary, body))
    assert (second.timings_ms, second.trace_id) == ({"recall": 1.0, "total": 2.0}, "ab" * 16)
    assert (
        msgspec.structs.replace(
            second,
            timings_ms=first.timings_ms,
            trace_id=first.trace_id,
            cache_age_seconds=first.cache_age_seconds,
        )
        == first
    )
    assert list(msgspec.json.decode(body)) == list(msgspec.json.decode(ordinary))
    assert world.ledger.rows == [*rows, rows[-1]]
    world.assert_nothing_is_held()


async def test_a_collection_that_was_only_read_again_is_the_same() -> None:
    world = World()
    again, hand, _ = await hit(world)
    assert hand.collection is not None
    hand.collection = msgspec.structs.replace(hand.collection)
    assert retelling(world, hand).find(again) is not None
    assert again.collection is hand.collection


def _changed(**fields: Any) -> Callable[[Hand], None]:
    def change(hand: Hand) -> None:
        assert hand.collection is not None
        hand.collection = msgspec.structs.replace(hand.collection, **fields)

    return change


def _unknown(hand: Hand) -> None:
    hand.collection = None


def _gone(hand: Hand) -> None:
    hand.kept = lambda key: None


def _damaged(hand: Hand) -> None:
    before = hand.kept

    def damaged(key: bytes) -> Kept | None:
        found = before(key)
        assert found is not None
        value = bytearray(found.value)
        value[len(value) // 2] ^= 1
        return Kept(bytes(value), found.age)

    hand.kept = damaged


def _standing(value: Standing | Exception | None) -> Callable[[Hand], None]:
    def change(hand: Hand) -> None:
        hand.standing = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _changed(generation=10**15),
        _changed(cache_epoch=77),
        _changed(created_at=1.0),
        _unknown,
        _gone,
        _damaged,
        _standing(None),
        _standing(BudgetExhausted("Spent.", remedy="Wait.")),
    ],
)
async def test_what_is_not_as_it_was_is_left_to_the_whole_path(
    change: Callable[[Hand], None],
) -> None:
    world = World()
    again, hand, _ = await hit(world)
    change(hand)
    rows = len(world.ledger.rows)
    assert retelling(world, hand).find(again) is None
    assert len(world.ledger.rows) == rows


async def test_an_answer_that_is_due_is_left_to_who_makes_it_anew() -> None:
    world = World()
    world.keeping = Keeping(ttl_seconds=60.0, refresh_share=1.0)
    again, hand, _ = await hit(world)
    await world.refreshes.close()
    assert retelling(world, hand).find(again) is None


@pytest.mark.parametrize("standing", ["economy", "exhausted"])
async def test_the_receipt_says_how_the_budgets_stand(standing: Standing) -> None:
    world = World()
    again, hand, _ = await hit(world)
    hand.standing = standing
    said = retelling(world, hand)
    found = said.find(again)
    assert found is not None
    body = said.tell(again, found, {}, "ab" * 16)
    assert msgspec.json.decode(body)["receipt"]["standing"] == standing
