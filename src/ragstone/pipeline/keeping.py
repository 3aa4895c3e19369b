"""For how long answers are kept."""

from dataclasses import dataclass, field
from random import Random

from ragstone.domain.answer import Answer
from ragstone.domain.kept import KeptAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """The lives of kept answers."""

    ttl_seconds: float = 3600.0
    not_found_seconds: float = 30.0
    refresh_share: float = 0.1
    """Of its life, at the end, in which an answer that is asked for is made anew."""
    random: Random = field(default_factory=lambda: Random(0))

    def life(self, answer: Answer) -> float:
        """Give or take a tenth, so that what was made together does not end together."""
        found = answer.answer_kind != "not_found"
        seconds = self.ttl_seconds if found else min(self.not_found_seconds, self.ttl_seconds)
        return seconds * self.random.uniform(0.9, 1.1)

    def is_due(self, kept: KeptAnswer, now: float) -> bool:
        """Whether it is in the last part of its life, and should be made anew. What was not found
        ends soon by itself."""
        if kept.not_found:
            return False
        left = kept.expires_at - now
        return left < self.refresh_share * (kept.expires_at - kept.made_at)
