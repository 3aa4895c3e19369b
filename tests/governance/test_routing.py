"""The order of a route's models: the operator's, unless money or quality says otherwise."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ragstone.governance.routing import better, order, price_of_a_question
from ragstone.ports import ModelOffer


def offer(name: str, price: int, quality: int = 1) -> ModelOffer:
    return ModelOffer(
        name=name, quality=quality, region="", input_price=price, output_price=4 * price
    )


ROUTE = [offer("good", 3_000, 2), offer("cheap", 150, 1), offer("best", 9_000, 3)]


def test_while_there_is_money_the_order_is_the_operators() -> None:
    assert order(ROUTE, "normal") == ["good", "cheap", "best"]


def test_a_budget_that_is_nearly_spent_asks_the_cheapest_first() -> None:
    assert order(ROUTE, "economy") == ["cheap", "good", "best"]


def test_a_spent_budget_leaves_no_model() -> None:
    assert order(ROUTE, "exhausted") == []


def test_only_models_of_a_higher_quality_are_better() -> None:
    assert better(ROUTE, "cheap") == ["good", "best"]
    assert better(ROUTE, "good") == ["best"]
    assert better(ROUTE, "best") == []


def test_a_model_at_two_endpoints_is_named_once() -> None:
    assert order([offer("m", 1), offer("m", 1), offer("n", 1)], "normal") == ["m", "n"]


@given(st.lists(st.builds(offer, st.sampled_from("abcdef"), st.integers(0, 10**7)), min_size=1))
def test_saving_loses_no_model(route: list[ModelOffer]) -> None:
    saving = order(route, "economy")
    assert Counter(saving) == Counter(order(route, "normal"))
    assert price_of_a_question(min(route, key=price_of_a_question)) == min(
        price_of_a_question(one) for one in route if one.name == saving[0]
    )
