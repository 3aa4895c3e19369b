"""Stage 10, with a model: its stream becomes an answer whose citations exist."""

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import msgspec
import structlog

from ragstone.domain.answer import AnswerKind, Citation
from ragstone.domain.application import Application
from ragstone.domain.errors import (
    DeadlineExceeded,
    DependencyBusy,
    ModelProtocolError,
    ModelTimedOut,
    RagstoneError,
)
from ragstone.domain.principal import Priority
from ragstone.domain.usage import Usage
from ragstone.governance.token_estimate import is_overlong
from ragstone.observe.trace import Trace
from ragstone.pipeline.citations import CitationFilter
from ragstone.pipeline.events import Written
from ragstone.pipeline.material import Material
from ragstone.pipeline.settle import Bill
from ragstone.pipeline.verify import verify
from ragstone.ports import Finished, ModelChosen, ModelRoute, Passed, Prompt, TextDelta
from ragstone.resilience.deadline import Deadline
from ragstone.resilience.ladder import LoadLadder, RungName
from ragstone.resilience.pressure import tells_of_load

_log = structlog.get_logger("ragstone.write")
_CHARS_OF_A_TOKEN: Final = 4
"""Of the piece with which an answer goes beyond its bound, which may be a whole body."""

_PASSED: Final[dict[Passed, RungName]] = {"failed": "fallback_model", "dearer": "economy_model"}
"""What is said of an answer by another model than the first."""


class _Draft:
    """What a model has written so far. As bytes: in a list, and in a `StringIO`, which is one
    within, each word has 60 bytes more than its letters."""

    __slots__ = ("_max_tokens", "_received", "_shown", "filter", "finished")

    def __init__(self, passages: int, max_tokens: int) -> None:
        self.filter = CitationFilter(passages)
        self.finished: Finished | None = None
        self._max_tokens = max_tokens
        self._received = bytearray()
        self._shown = bytearray()

    @property
    def received(self) -> str:
        return self._received.decode(errors="surrogatepass")

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="surrogatepass")

    def add(self, text: str) -> str:
        """What can be shown by now. An answer beyond its bound is cut there, and `finished`."""
        self._received += text.encode(errors="surrogatepass")
        if is_overlong(len(self._received), self._max_tokens):
            text = text[: _CHARS_OF_A_TOKEN * self._max_tokens]
            self.finished = Finished(usage=None, reason="length")
        return self._show(self.filter.feed(text))

    def rest(self) -> str:
        """What was held back until the end."""
        return self._show(self.filter.flush())

    def _show(self, text: str) -> str:
        if not self._shown:
            text = text.lstrip()  # white space is not yet an answer
        self._shown += text.encode(errors="surrogatepass")
        return text


class ModelWriter:
    """Answers by a route of models: their labels, their bill, and what the ladder is told.

    One at a time.
    """

    def __init__(
        self,
        material: Material,
        route: ModelRoute,
        *,
        tenant: str,
        priority: Priority,
        model_seconds: float,
        on_asked: Callable[[], None],
        ladder: LoadLadder,
        deadline: Deadline,
        trace: Trace,
        bill: Bill,
    ) -> None:
        self._material = material
        self._route = route
        self._tenant = tenant
        self._priority: Priority = priority
        self._model_seconds = model_seconds
        self._on_asked = on_asked
        self._ladder = ladder
        self._deadline = deadline
        self._trace = trace
        self._bill = bill
        self._left = 0.0
        """Seconds, when the route was asked."""
        self._has_begun = False

    async def write(self, models: Sequence[str]) -> AsyncGenerator[str | Written, None]:
        """Pieces of the text by one of the models, in the order in which they are tried, then one
        `Written`. Raises `DependencyError`, `DeadlineExceeded`.

        What they cost is on the bill however they end, and who writes and how soon is noted.
        """
        self._left, self._has_begun = self._deadline.remaining(), False
        prompt = self._material.prompt
        shortened = self._ladder.takes("shorter_answer", self._priority)
        if shortened:
            prompt = msgspec.structs.replace(prompt, max_tokens=max(1, prompt.max_tokens // 2))
        draft = _Draft(len(self._material.passages), prompt.max_tokens)
        try:
            async with aclosing(self._asking(prompt, models)) as events:
                async for event in events:
                    if isinstance(event, ModelChosen):
                        self._chosen(event)
                    elif isinstance(event, Finished):
                        self._finished(event, draft)
                    elif shown := self._received(event, draft):
                        yield shown
                    if draft.finished is not None:
                        break
        except (DependencyBusy, ModelTimedOut, DeadlineExceeded) as error:
            self._tell_ladder(error)
            raise
        finally:
            self._bill.broken_off(draft.received)
        if rest := draft.rest():
            yield rest
        text = draft.shown
        if draft.finished is None or not text.strip():
            raise ModelProtocolError(
                f"The model {self._bill.model} ended without an answer.", remedy="Try again."
            )
        yield self._written(text, draft.filter, _cuts(draft.finished, shortened))

    def _written(self, text: str, filtered: CitationFilter, labels: list[str]) -> Written:
        material = self._material
        kind: AnswerKind = "not_found"
        citations: list[Citation] = []
        if not _says_not_found(text, material.application):
            kind = "generated"
            citations, unsound = verify(text, filtered, material.passages)
            labels = [*labels, *unsound]
        bill = self._bill
        if cut := material.saved_tokens:
            saved = bill.prices.model(bill.model).cost(Usage(input_tokens=cut))
            bill.saved("compression", saved)
        return Written(
            text=text, kind=kind, citations=citations,
            usage=bill.usage, model=bill.model, labels=labels,
        )  # fmt: skip

    async def _asked(self, model: str, prompt: Prompt) -> None:
        await self._bill.asked(model, prompt)
        self._on_asked()

    def _asking(
        self, prompt: Prompt, models: Sequence[str]
    ) -> AsyncGenerator[ModelChosen | TextDelta | Finished, None]:
        return self._route.stream(
            prompt,
            tenant=self._tenant,
            priority=self._priority,
            deadline=self._deadline.model_until(self._model_seconds),
            on_asked=partial(self._asked, prompt=prompt),
            on_failed=self._bill.failed,
            models=models,
        )

    def _received(self, event: TextDelta, draft: "_Draft") -> str:
        """What is shown for it."""
        if event.joined:
            self._trace.degrade("chunks_joined")
        shown = draft.add(event.text)
        if draft.finished is not None:
            _log.warning("a model does not keep to max_tokens", model=self._bill.model)
        return shown

    def _finished(self, event: Finished, draft: "_Draft") -> None:
        draft.finished = event
        if event.usage is not None:
            self._bill.counted(event.usage, draft.received)

    def _chosen(self, chosen: ModelChosen) -> None:
        self._has_begun = True
        self._ladder.observe_first_token(self._waited(), self._priority)
        self._bill.model = chosen.name
        own, economy = chosen.name == self._route.name, self._bill.standing == "economy"
        if chosen.instead_of is None:
            if economy and not own:
                self._trace.degrade("economy_model")
        elif not (economy and own):  # the route's own model, for a cheap one, is no less
            self._trace.degrade(_PASSED[chosen.instead_of])

    def _tell_ladder(self, error: RagstoneError) -> None:
        """Of a model that had no room, or did not begin in time."""
        if isinstance(error, DependencyBusy):
            if tells_of_load(error):
                self._ladder.observe_first_token(math.inf, self._priority)
        elif not self._has_begun:
            self._ladder.observe_first_token(self._waited(), self._priority)

    def _waited(self) -> float:
        """Seconds since the route was asked."""
        return self._left - self._deadline.remaining()


def _cuts(finished: Finished, shortened: bool) -> list[str]:
    """Labels of what was cut; a limit that was not reached has cost nothing."""
    labels = []
    if finished.reason == "length" and shortened:
        labels.append("shorter_answer")
    if finished.reason != "stop":
        labels.append(f"answer_cut_by_{finished.reason}")
    return labels


def may_abstain(beginning: str, application: Application) -> bool:
    """Whether a text that begins so may still say that nothing was found."""
    return application.not_found.casefold().startswith(_plain(beginning))


def _says_not_found(text: str, application: Application) -> bool:
    """The agreed sentence, give or take quotes and closing punctuation."""
    return _plain(text) == _plain(application.not_found)


def _plain(text: str) -> str:
    return text.strip().strip("\"'*").rstrip(".").casefold()
