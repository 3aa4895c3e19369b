"""The turns before a question: within the budget, and with a beginning that stays the same."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.query import Turn
from ragstone.pipeline.conversation import CONDENSED_CHARS, condensed
from ragstone.pipeline.pack import estimated_tokens

_TURNS = st.lists(
    st.builds(
        Turn,
        st.sampled_from(["user", "assistant", "system"]),
        st.text("abé ?.\n", max_size=400),
    ),
    max_size=20,
)
LONG = "The first sentence says it. " + "Another one adds a little to it. " * 20


def _talk(questions: int) -> list[Turn]:
    return [
        turn
        for n in range(questions)
        for turn in (Turn("user", f"I wonder {n}. {LONG} Is it {n}?"), Turn("assistant", LONG))
    ]


@given(_TURNS, st.integers(0, 12), st.integers(0, 300))
def test_within_the_budget_with_roles_that_alternate(
    turns: list[Turn], most: int, budget: int
) -> None:
    told = condensed(turns, max_turns=most, budget_tokens=budget)
    assert sum(estimated_tokens(message.content) for message in told) <= budget
    assert len(told) <= most + 1  # where the last question had no answer, one is said to be missing
    assert [message.role for message in told] == ["user", "assistant"] * (len(told) // 2)


def test_what_fits_stays_whole() -> None:
    talk = _talk(2)
    told = condensed(talk, max_turns=12, budget_tokens=10_000)
    assert [message.content for message in told] == [turn.content for turn in talk]


def test_older_turns_shrink_to_their_question_or_first_sentence() -> None:
    told = condensed(_talk(3), max_turns=12, budget_tokens=600)
    assert told[0].content.startswith("I wonder 0. ")
    assert "Is it 0?" in told[0].content
    assert told[1].content.startswith("The first sentence says it.")
    assert all(len(message.content) <= CONDENSED_CHARS + 2 for message in told[:2])
    assert told[-1].content == _talk(1)[1].content


def test_the_beginning_stays_the_same_while_the_conversation_grows() -> None:
    before = condensed(_talk(4), max_turns=12, budget_tokens=600)
    after = condensed(_talk(5), max_turns=12, budget_tokens=600)
    assert before[:4] == after[:4]


def test_too_many_turns_go_in_blocks() -> None:
    turns = [Turn("user" if n % 2 == 0 else "assistant", f"turn {n}") for n in range(30)]
    firsts = {
        condensed(turns[:count], max_turns=12, budget_tokens=10_000)[0].content
        for count in range(14, 31, 2)
    }
    assert firsts == {"turn 6", "turn 12", "turn 18"}


def test_no_budget_is_no_conversation() -> None:
    assert condensed(_talk(2), max_turns=12, budget_tokens=0) == []
