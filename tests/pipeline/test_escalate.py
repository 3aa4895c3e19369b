"""A better model replaces an answer that was not good enough, and only before it was seen."""

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from ragstone.apps import ASSISTANT
from ragstone.domain.answer import Citation, Span
from ragstone.domain.errors import ModelFailed
from ragstone.domain.usage import Usage
from ragstone.pipeline.escalate import Escalation, Writing, write_escalating
from ragstone.pipeline.events import Written
from ragstone.pipeline.write import may_abstain

CITED = Citation(
    number=1, document_id="d", external_id="d", chunk_id="c", title="", page=None,
    span=Span(0, 1), score=1.0, text="x",
)  # fmt: skip
ABSTAINS = [ASSISTANT.not_found[:9], ASSISTANT.not_found[9:]]


class Models:
    """Each writes the pieces it is given; an exception among them is raised."""

    def __init__(self, **scripts: list[str | Exception]) -> None:
        self.scripts = scripts
        self.asked: list[str] = []

    async def write(self, names: Sequence[str]) -> Writing:
        name = names[0]
        self.asked.append(name)
        text = ""
        for piece in self.scripts[name]:
            if isinstance(piece, Exception):
                raise piece
            text += piece
            yield piece
        found = not text.startswith(ABSTAINS[0])
        yield Written(
            text=text,
            kind="generated" if found else "not_found",
            citations=[CITED] if "[1]" in text else [],
            usage=Usage(),
            model=name,
        )


async def told(models: Models, when: Escalation) -> tuple[list[str], str, list[str]]:
    """The pieces that were shown, the name of who wrote them, and whom that replaced."""
    replaced: list[str] = []
    shown: list[str] = []
    model = ""
    writing = write_escalating(
        models.write, ["cheap"], lambda name: ["good"] if name == "cheap" else [],
        when=when, may_abstain=lambda text: may_abstain(text, ASSISTANT),
        on_escalated=replaced.append,
    )  # fmt: skip
    async with aclosing(writing) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                assert piece.text == "".join(shown)
                model = piece.model
            else:
                shown.append(piece)
    return shown, model, replaced


async def test_an_answer_is_shown_as_it_comes_once_it_cannot_abstain() -> None:
    models = Models(cheap=["It takes", " 45 days", " [1]."])
    assert await told(models, "abstained") == (["It takes", " 45 days", " [1]."], "cheap", [])
    assert models.asked == ["cheap"]


async def test_who_abstains_is_replaced_and_not_shown() -> None:
    models = Models(cheap=ABSTAINS, good=["45 ", "days [1]."])
    assert await told(models, "abstained") == (["45 ", "days [1]."], "good", ["cheap"])


async def test_an_answer_without_a_citation_is_replaced_where_that_counts() -> None:
    scripts: dict[str, list[str | Exception]] = {"cheap": ["45 days."], "good": ["45 days [1]."]}
    assert (await told(Models(**scripts), "abstained"))[1] == "cheap"
    assert await told(Models(**scripts), "unsupported") == (["45 days [1]."], "good", ["cheap"])


async def test_off_means_off() -> None:
    models = Models(cheap=ABSTAINS)
    assert await told(models, "off") == (ABSTAINS, "cheap", [])


async def test_a_better_model_that_fails_at_once_leaves_the_first_answer() -> None:
    models = Models(cheap=ABSTAINS, good=[ModelFailed("It is down.")])
    assert await told(models, "abstained") == (["".join(ABSTAINS)], "cheap", [])
    assert models.asked == ["cheap", "good"]


async def test_a_better_model_that_breaks_off_is_an_error() -> None:
    models = Models(cheap=ABSTAINS, good=["45 ", ModelFailed("It broke.")])
    with pytest.raises(ModelFailed):
        await told(models, "abstained")


async def test_leaving_closes_the_model_that_writes() -> None:
    class Slow(Models):
        closed = 0

        async def write(self, names: Sequence[str]) -> Writing:
            try:
                async with aclosing(super().write(names)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                self.closed += 1

    models = Slow(cheap=ABSTAINS, good=["45 ", "days [1]."])
    writing = write_escalating(
        models.write, ["cheap"], lambda _: ["good"], when="abstained",
        may_abstain=lambda text: may_abstain(text, ASSISTANT), on_escalated=lambda _: None,
    )  # fmt: skip
    assert await anext(writing) == "45 "
    await writing.aclose()
    assert models.closed == 2


@pytest.mark.parametrize("text", ["", " ", '"' + ASSISTANT.not_found[:5], ASSISTANT.not_found])
def test_a_beginning_of_the_agreed_sentence_may_abstain(text: str) -> None:
    assert may_abstain(text, ASSISTANT)


def test_another_beginning_may_not() -> None:
    assert not may_abstain("It takes", ASSISTANT)
    assert not may_abstain(ASSISTANT.not_found + " But see [1].", ASSISTANT)
