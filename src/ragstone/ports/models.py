"""Language models, the routes among them, and rerankers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ragstone.domain.passage import Passage
from ragstone.domain.principal import Priority
from ragstone.domain.usage import Usage


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a language model is asked."""

    system: str
    """Stable across questions of one application, so that providers' prompt caches hit."""
    messages: list["PromptMessage"]
    max_tokens: int
    temperature: float = 0.0


class PromptMessage(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: str


class TextDelta(msgspec.Struct, frozen=True):
    """The next piece of text; never empty."""

    text: str
    joined: bool = False
    """The reader rested before it, under load, so that more came at once."""
    waited: float | None = None
    """Of the first one: seconds since the request had been sent. Waiting for a connection, and
    for the event loop to send, is not the model's time. None: not known."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a complete generation."""

    usage: Usage | None
    """As the provider counted; None when it did not say."""
    reason: Literal["stop", "length", "filtered", "other"]


class LanguageModel(Protocol):
    """Streams an answer to a prompt."""

    @property
    def name(self) -> str: ...

    def stream(
        self, prompt: Prompt, *, deadline: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        """Text deltas, then exactly one `Finished`.

        Closing the generator (`aclosing`) closes the upstream call. Raises `ModelError`s, and
        `DeadlineExceeded` once `deadline` has passed.
        """
        ...

    async def close(self) -> None: ...


class ModelOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A model of a route, for those who choose among them."""

    name: str
    quality: int
    region: str
    input_price: int
    output_price: int
    """Nano-dollars for a million tokens."""


Passed = Literal["failed", "dearer"]
"""Why a model was passed over: it could not answer, or a budget has too little left for it."""


class ModelChosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which model of a route writes what follows."""

    name: str
    instead_of: Passed | None = None
    """Why it is not the first that was to be asked; `failed` where there were both reasons."""


class ModelRoute(Protocol):
    """Language models in the order in which they are tried, each behind its limits."""

    @property
    def name(self) -> str:
        """The first model's."""
        ...

    @property
    def offers(self) -> Sequence[ModelOffer]:
        """In the order in which they are tried."""
        ...

    def stream(
        self,
        prompt: Prompt,
        *,
        tenant: str,
        priority: Priority,
        deadline: float,
        on_asked: Callable[[str], Awaitable[None]],
        on_failed: Callable[[Exception], None] = ...,
        models: Sequence[str] | None = None,
    ) -> AsyncGenerator[ModelChosen | TextDelta | Finished, None]:
        """`ModelChosen` right before the first delta, then as `LanguageModel.stream`.

        `on_asked` is awaited, with the model's name, for each attempt that got a permit and is
        sent next; when it raises `BudgetExhausted`, the next model of the route is tried.
        `on_failed` hears why such an attempt failed before its first delta. `models`: only
        these, in this order.

        Retries and fails over only before the first delta. Closing the generator ends the
        call. Raises the last endpoint's `DependencyError` (`ModelError`, `CircuitOpen`,
        `DependencyBusy`), and `DeadlineExceeded`.
        """
        ...

    async def close(self) -> None: ...


class Reranker(Protocol):
    """Reorders candidates for a question."""

    @property
    def name(self) -> str: ...

    async def rerank(
        self, question: str, passages: Sequence[Passage], *, deadline: float
    ) -> list[Passage]:
        """The same passages, best first. Raises `DependencyError`."""
        ...
