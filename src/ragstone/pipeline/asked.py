"""A question with everything that comes with it, as the stages of `answer` hand it on."""

from typing import Literal

import msgspec

from ragstone.domain.application import Application
from ragstone.domain.budget import Spender
from ragstone.domain.principal import Principal, Priority
from ragstone.domain.query import Question
from ragstone.observe.trace import Trace
from ragstone.resilience.deadline import Deadline

CacheUse = Literal["use", "refresh", "off"]
"""`refresh`: made anew, and kept. `off`: neither looked for nor kept, nor shared."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks what, until when, and how the answer is wanted."""

    question: Question
    principal: Principal
    application: Application
    deadline: Deadline
    trace: Trace
    weight: int = 1
    """In slots of admission."""
    streamed: bool = True
    """False: nobody sees what comes before the end, so a model that breaks off can still be
    replaced."""
    cache: CacheUse = "use"
    background: bool = False
    """Nobody waits for it."""

    @property
    def priority(self) -> Priority:
        if self.background:
            return "sheddable"
        return self.principal.priority or self.application.priority

    @property
    def spender(self) -> Spender:
        return Spender(
            tenant=self.principal.tenant,
            key_id=self.principal.key_id,
            user=self.principal.user,
            application=self.application.name,
        )

    @property
    def cache_group(self) -> str:
        """Where the caches find what belongs to the collection."""
        return f"{self.principal.tenant}/{self.question.collection}"

    def in_background(self, trace: Trace, deadline: Deadline) -> "Asked":
        """The same, asked by the server itself to have a fresh answer ready."""
        return msgspec.structs.replace(
            self,
            trace=trace,
            deadline=deadline,
            weight=1,
            streamed=False,
            cache="refresh",
            background=True,
        )
