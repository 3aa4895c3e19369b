"""A kept answer that is told as its bytes says the same as one that is told event by event."""

import msgspec

from ragstone.domain.answer import Answer
from ragstone.pipeline.answer import begin, kept_json
from ragstone.pipeline.recall import told
from tests.pipeline.world import ASKED, World


def _timeless(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, timings_ms={}, cache_age_seconds=0.0)


async def test_the_bytes_say_what_the_events_say() -> None:
    world = World()
    await world.put("help")
    await world.ask()
    _, replayed = await world.ask()
    asked, services = world.asked(ASKED, streamed=False), world.services()
    begun = await begin(asked, services)
    assert begun.found.kept is not None
    body = await kept_json(asked, begun.found.kept, begun, services)
    given = msgspec.json.decode(body, type=Answer)
    assert _timeless(given) == _timeless(replayed)
    assert len(msgspec.json.decode(body)) == len(Answer.__struct_fields__)
    assert given.answer == told(begun.found.kept).answer
    world.assert_nothing_is_held()
