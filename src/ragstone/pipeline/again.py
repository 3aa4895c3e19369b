"""A question that was told a kept answer, asked again: told at once, where nothing has changed.

It is what `begin` and `kept_json` do, without all that is there for what may have to wait. Whatever
is not in this process's memory, or not as it was, is left to them: nothing has been counted or
charged by then.
"""

import time
from dataclasses import dataclass

from ragstone.domain.answer import Telling
from ragstone.domain.budget import Spender, Standing
from ragstone.domain.collection import Collection
from ragstone.domain.errors import BudgetExhausted
from ragstone.domain.kept import KeptAnswer
from ragstone.domain.usage import NANODOLLARS, Receipt, Usage
from ragstone.pipeline.asked import Asked
from ragstone.pipeline.lookup import LookedUp
from ragstone.pipeline.recall import readable
from ragstone.pipeline.services import AtHand, Services
from ragstone.pipeline.tell import age_of, joined
from ragstone.pipeline.usage_rows import usage_row

_NO_USAGE = Usage()


@dataclass(slots=True)
class Again:
    """What a question that was told a kept answer leaves for the next one like it: where the
    answer is, and whether that is still its place. No word of either."""

    key: bytes
    collection: Collection
    spender: Spender

    @classmethod
    def of(cls, asked: Asked, found: LookedUp) -> "Again":
        return cls(found.key, found.collection, asked.spender)


@dataclass(frozen=True, slots=True)
class FoundAgain:
    """What is told to whoever asks now."""

    kept: KeptAnswer
    standing: Standing
    seconds: float
    """That it took to find it."""


class Retelling:
    """Of what one process has at hand."""

    def __init__(self, at_hand: AtHand, s: Services) -> None:
        self._at_hand = at_hand
        self._keeping = s.keeping
        self._clock = s.clock
        self._ledger = s.ledger
        self._hits = s.metrics.cache_requests.labels("question", "hit")
        self._saved = s.metrics.cost_saved.labels("answer_cache")
        self._recalls = s.metrics.stage_duration.labels("recall")

    def find(self, again: Again) -> FoundAgain | None:
        """What is kept, if all is as it was."""
        began = time.perf_counter()
        before = again.collection
        collection = self._at_hand.collection(before.tenant, before.name)
        if collection is not before:
            if collection != before:
                return None
            again.collection = collection  # read again meanwhile
        try:
            standing = self._at_hand.standing(again.spender)
        except BudgetExhausted:
            return None
        if standing is None or (entry := self._at_hand.kept(again.key)) is None:
            return None
        kept = readable(entry.value)
        if kept is None or self._keeping.is_due(kept, self._clock.time()):
            return None
        return FoundAgain(kept, standing, time.perf_counter() - began)

    def tell(
        self, again: Again, found: FoundAgain, timings_ms: dict[str, float], trace_id: str
    ) -> bytes:
        """The answer as JSON, counted and on the bill."""
        kept = found.kept
        self._hits.inc()
        self._recalls.observe(found.seconds)
        saved = max(0, kept.nanodollars)
        if saved:
            self._saved.inc(saved / NANODOLLARS)
        row = usage_row(again.spender, kept.model, questions=1, cached=True, saved=saved)
        self._ledger.record([row])
        telling = Telling(
            usage=_NO_USAGE,
            timings_ms=timings_ms,
            degraded=[],
            notices=[],
            cache_age_seconds=age_of(kept, self._clock.time()),
            receipt=Receipt(
                saved_nanodollars={"answer_cache": saved} if saved else {}, standing=found.standing
            ),
            trace_id=trace_id,
        )
        return joined(kept, telling)
