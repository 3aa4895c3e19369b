"""Questions are alike only where nothing that could change the answer differs."""

import pytest

from ragstone.pipeline.alike import meaning, meaning_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How long do refunds take?", "how long does a refund take"),
        ("What is the delivery fee?", "Please tell me: what is the delivery fee?"),
        ("Hi, when will my order be delivered? Thanks!", "When will the orders be delivered?"),
        ("Can I return shoes?", "Could I return the shoe?"),
        ("I cannot log in", "I can't log in."),
    ],
)
def test_alike(one: str, other: str) -> None:
    assert meaning(one) == meaning(other)
    assert meaning_digest(one) == meaning_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Can I return shoes with a receipt?", "Can I return shoes without a receipt?"),
        ("Is delivery free?", "Is delivery not free?"),
        ("Which items can be returned?", "Which items can't be returned?"),
        ("How do I top up?", "Why does it not top up?"),
        ("What changed before March?", "What changed after March?"),
        ("What costs more than EUR 50?", "What costs less than EUR 50?"),
        ("What costs more than EUR 50?", "What costs more than EUR 60?"),
        ("Is the lamp W22-3107 safe?", "Is the lamp W22-3119 safe?"),
        ("How do I transfer from savings to cash?", "How do I transfer from cash to savings?"),
        ("When does the Cork store open?", "When does the Dublin store open?"),
        ("How long is the warranty?", "How much is the warranty?"),
        ("Who delivers parcels?", "When are parcels delivered?"),
        ("Must I show a receipt?", "Can I show a receipt?"),
        ("What was the return window?", "What is the return window?"),
        ("Can you return it?", "Can they return it?"),
        ("Is it below 5 °C?", "Is it below -5 °C?"),
        ("Does IT repair phones?", "Does it repair phones?"),
        ("What is 5% of it?", "What is 5$ of it?"),
        ("Are all shops open?", "Are some shops open?"),
    ],
)
def test_not_alike(one: str, other: str) -> None:
    assert meaning(one) != meaning(other)
    assert meaning_digest(one) != meaning_digest(other)


def test_a_question_of_nothing_but_idle_words_has_a_meaning() -> None:
    assert meaning("") == meaning("  ?")
    assert meaning("The?") == meaning("a")
