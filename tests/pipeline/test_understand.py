"""A question that leans on the conversation is searched with it; any other stands alone."""

import pytest

from ragstone.domain.query import Question, Turn
from ragstone.pipeline.understand import understand

TALK = (Turn("user", "How do I return a sofa?"), Turn("assistant", "Call us to collect it [1]."))


def _ask(text: str, conversation: tuple[Turn, ...] = TALK) -> str:
    return understand(Question(text=text, collection="help", conversation=conversation))


@pytest.mark.parametrize(
    "text", ["How long does that take?", "And for sale items?", "What about lamps?", "Any fee?"]
)
def test_a_question_that_points_back_brings_its_topic(text: str) -> None:
    assert _ask(text) == f"How do I return a sofa? {text}"


def test_a_question_of_its_own_stays_as_it_is() -> None:
    text = "Which payment methods do your stores in Bergen accept?"
    assert _ask(text) == text


def test_without_a_conversation_white_space_is_all_that_changes() -> None:
    assert _ask("  Any \n fee? ", ()) == "Any fee?"


def test_only_the_users_latest_turns_are_kept() -> None:
    long = tuple(Turn("user", f"question {n} " + "x" * 300) for n in range(9))
    query = _ask("And that?", long)
    assert len(query) < 450
    assert "question 1 " not in query
