"""A cheap model first, a better one where its answer is not good enough.

What was shown cannot be taken back, so text is held until it is known to stay: with `abstained`
only while it may still become the sentence that says that nothing was found, with `unsupported`
to its end.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Literal

from ragstone.domain.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    DependencyError,
    InternalError,
    TokensRateLimited,
)
from ragstone.pipeline.events import Written

Escalation = Literal["off", "abstained", "unsupported"]
Writing = AsyncGenerator[str | Written, None]
Writer = Callable[[Sequence[str]], Writing]
"""Asks the models of these names, in this order."""


def write_escalating(
    write: Writer,
    first: Sequence[str],
    better: Callable[[str], Sequence[str]],
    *,
    when: Escalation,
    may_abstain: Callable[[str], bool],
    on_escalated: Callable[[str], None],
) -> Writing:
    """Pieces of one answer, then its `Written`. Raises what the first writing raises.

    `better` names the models of a higher quality than one. `may_abstain`: whether a text that
    begins so may still say that nothing was found. `on_escalated` hears the name of a model
    whose answer was replaced. A better model that fails before its first word leaves the first
    answer as it is.
    """
    if when == "off":
        return write(first)
    held = _Held(when == "unsupported", may_abstain)
    return _escalating(write, first, better, held, when, on_escalated)


async def _escalating(
    write: Writer,
    first: Sequence[str],
    better: Callable[[str], Sequence[str]],
    held: "_Held",
    when: Escalation,
    on_escalated: Callable[[str], None],
) -> Writing:
    written: Written | None = None
    async with aclosing(write(first)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                written = piece
            elif shown := held.feed(piece):
                yield shown
    if written is None:
        raise InternalError("A model's answer ended without an end.")
    replaced = False
    if held.is_whole and not _suffices(written, when) and (higher := better(written.model)):
        async with aclosing(_or_nothing(write(higher))) as pieces:
            async for piece in pieces:
                if not replaced:
                    replaced = True
                    on_escalated(written.model)
                yield piece
    if not replaced:
        if held.text:
            yield held.text
        yield written


class _Held:
    """Text that may still be replaced."""

    def __init__(self, whole_answers: bool, may_abstain: Callable[[str], bool]) -> None:
        self._whole_answers = whole_answers
        self._may_abstain = may_abstain
        self.is_whole = True
        """Nothing of the answer was shown."""
        self.text = ""

    def feed(self, piece: str) -> str:
        """What may be shown now."""
        if not self.is_whole:
            return piece
        self.text += piece
        if self._whole_answers or self._may_abstain(self.text):
            return ""
        self.is_whole = False
        shown, self.text = self.text, ""
        return shown


def _suffices(written: Written, when: Escalation) -> bool:
    if written.kind == "not_found":
        return False
    return when != "unsupported" or bool(written.citations)


async def _or_nothing(writing: Writing) -> Writing:
    """The same; nothing at all where it fails before its first word."""
    begun = False
    async with aclosing(writing) as pieces:
        try:
            async for piece in pieces:
                begun = True
                yield piece
        except (DependencyError, DeadlineExceeded, BudgetExhausted, TokensRateLimited):
            if begun:
                raise
