"""Prices: exact, rounded up once, and bounded from above."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.assembly.guards import Guards
from ragstone.assembly.prices import is_self_hosted, open_prices
from ragstone.domain.errors import UnknownPrice
from ragstone.domain.usage import Usage
from ragstone.governance.prices import ALL_FREE, FREE, Price, Rate
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.observe.metrics import Metrics
from ragstone.ports import Reranker
from ragstone.settings import Settings
from tests.clock import VirtualClock

AT = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
OPENAI = "https://api.openai.com/v1"

_nano = st.integers(0, 10**11)
_tokens = st.integers(0, 10**6)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    starts = draw(st.lists(st.integers(1, 10**6), unique=True, max_size=3))
    kinds = ("input", "cached_input", "written_input", "output")
    rates = [
        Rate(above=start, **{kind: draw(_nano) for kind in kinds}) for start in [0, *sorted(starts)]
    ]
    return Price(source="test", rates=tuple(rates), call=draw(st.integers(0, 10**8)))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    read = draw(_tokens)
    cached = draw(st.integers(0, read))
    return Usage(
        input_tokens=read,
        cached_input_tokens=cached,
        written_input_tokens=draw(st.integers(0, read - cached)),
        output_tokens=draw(_tokens),
    )


@given(prices(), usages(), _tokens, _tokens)
def test_no_usage_within_the_bound_costs_more(
    price: Price, usage: Usage, more_input: int, more_output: int
) -> None:
    bound = price.upper_bound(usage.input_tokens + more_input, usage.output_tokens + more_output)
    assert price.cost(usage) <= bound


@given(prices(), usages())
def test_a_call_is_rounded_up_once_and_by_less_than_a_nano_dollar(
    price: Price, usage: Usage
) -> None:
    rate = max(
        (rate for rate in price.rates if usage.input_tokens > rate.above or not rate.above),
        key=lambda rate: rate.above,
    )
    plain = usage.input_tokens - usage.cached_input_tokens - usage.written_input_tokens
    exact = Fraction(
        plain * rate.input
        + usage.cached_input_tokens * rate.cached_input
        + usage.written_input_tokens * rate.written_input
        + usage.output_tokens * rate.output,
        10**6,
    )
    if usage == Usage():
        assert price.cost(usage) == 0
    else:
        assert 0 <= price.cost(usage) - price.call - exact < 1


@given(prices(), prices(), usages())
def test_two_endpoints_of_one_name_have_the_dearer_price(
    one: Price, other: Price, usage: Usage
) -> None:
    joined = one.dearer_of(other)
    assert joined.cost(usage) >= max(one.cost(usage), other.cost(usage))


@given(prices(), usages())
def test_the_prompt_cache_saves_what_the_same_call_would_have_cost_more(
    price: Price, usage: Usage
) -> None:
    rate = price.rate(usage.input_tokens)
    uncached = Usage(
        input_tokens=usage.input_tokens,
        written_input_tokens=usage.written_input_tokens,
        output_tokens=usage.output_tokens,
    )
    if rate.cached_input <= rate.input and usage != Usage():
        difference = price.cost(uncached) - price.cost(usage)
        assert abs(price.saved_by_cache(usage) - difference) <= 1
    assert price.saved_by_cache(usage) >= 0


def opened(**groups: object):
    return open_prices(Settings.model_validate(groups), VirtualClock(time=AT))


def test_a_hosted_model_has_its_list_price() -> None:
    price = opened(llm={"model": "gpt-4o-mini"}).model("gpt-4o-mini")
    assert price.source.startswith("genai-prices ")
    assert price.cost(Usage(input_tokens=1_000_000)) == 150_000_000
    assert price.cost(Usage(input_tokens=1_000_000, cached_input_tokens=1_000_000)) == 75_000_000
    assert price.cost(Usage(output_tokens=1)) == 600
    assert price.cost(Usage()) == 0


def test_a_long_call_has_the_price_of_its_length() -> None:
    llm = {"model": "claude-sonnet-4-5", "provider": "anthropic"}
    price = opened(llm=llm).model("claude-sonnet-4-5")
    assert price.cost(Usage(input_tokens=200_000)) == 200_000 * 3_000
    assert price.cost(Usage(input_tokens=200_001)) == 200_001 * 6_000
    written = Usage(input_tokens=1_000, written_input_tokens=1_000)
    assert price.cost(written) == 1_000 * 3_750


def test_writing_to_anthropics_cache_costs_a_quarter_more_than_the_price_that_is_set() -> None:
    written = Usage(input_tokens=1_000, written_input_tokens=1_000)
    for provider, cost in (("anthropic", 1_000 * 2_500), ("openai", 1_000 * 2_000)):
        llm = {"model": "m", "provider": provider, "base_url": "https://proxy.example/v1"}
        price = opened(llm=llm | {"input_price": "2", "output_price": "9"}).model("m")
        assert price.cost(written) == cost
        assert price.upper_bound(1_000) >= cost


def test_a_price_that_changes_with_the_hour_is_the_dearest_of_the_day() -> None:
    llm = {"model": "deepseek-chat", "base_url": "https://api.deepseek.com/v1"}
    assert opened(llm=llm).model("deepseek-chat").rates[0].output == 1_100_000_000


def test_what_is_configured_wins_and_the_rest_is_from_the_list() -> None:
    price = opened(llm={"model": "gpt-4o-mini", "input_price": "0.1"}).model("gpt-4o-mini")
    assert price.source == "configured"
    [rate] = price.rates
    assert (rate.input, rate.cached_input) == (100_000_000, 100_000_000)
    assert rate.output == 600_000_000
    llm = {"model": "gpt-4o-mini", "cached_input_price": "0.0000000001"}
    assert opened(llm=llm).model("gpt-4o-mini").rates[0].cached_input == 1  # rounded up


def test_a_model_of_ones_own_is_free_unless_it_has_a_price() -> None:
    own = {"model": "m", "base_url": "http://10.1.2.3:8000/v1"}
    assert opened(llm=own).model("m").free
    assert opened(llm=own).model("m") == FREE
    priced = opened(llm=own | {"output_price": "1"}).model("m")
    assert priced.cost(Usage(input_tokens=5, output_tokens=2)) == 2_000


def test_an_unknown_price_is_refused_naming_setting_and_similar_models() -> None:
    with pytest.raises(UnknownPrice) as caught:
        opened(llm={"model": "gpt-4o-minni"})
    assert caught.value.field == "llm.input_price"
    assert "gpt-4o-mini" in str(caught.value)
    assert "llm.output_price" in str(caught.value)
    elsewhere = {"model": "m", "base_url": "https://llm.example.com/v1", "input_price": "1"}
    with pytest.raises(UnknownPrice):
        opened(llm=elsewhere)
    assert opened(llm=elsewhere | {"output_price": "0"}).model("m").rates[0].output == 0
    with pytest.raises(UnknownPrice) as caught:
        opened(llm={"model": "gpt-4o", "fallbacks": [elsewhere]})
    assert caught.value.field == "llm.fallbacks.0.input_price"
    with pytest.raises(UnknownPrice, match=r"embedder\.price"):
        opened(embedder={"provider": "openai", "base_url": OPENAI, "model": "nothing-such"})
    with pytest.raises(UnknownPrice, match=r"reranker\.call_price"):
        opened(reranker={"base_url": "https://api.cohere.com/v2", "model": "rerank-v3.5"})


def test_embedders_and_rerankers_have_prices() -> None:
    embedder = {"provider": "openai", "base_url": OPENAI, "model": "text-embedding-3-small"}
    reranker = {"base_url": "https://api.cohere.com/v2", "model": "r", "call_price": "2"}
    book = opened(embedder=embedder, reranker=reranker)
    assert book.embedder.cost(Usage(embedding_tokens=1_000)) == 20_000
    assert book.reranker.cost(Usage(rerank_tokens=7)) == 2_000_000
    assert opened().embedder == opened().reranker == FREE
    assert opened(embedder=embedder | {"price": "0"}).embedder.free


def test_the_best_model_is_the_first_of_the_highest_quality() -> None:
    own = {"base_url": "http://localhost/v1", "quality": 3}
    fallbacks = [own | {"model": "b"}, own | {"model": "c"}]
    book = opened(llm=own | {"model": "a", "quality": 1, "fallbacks": fallbacks})
    assert book.best == "b"
    assert ALL_FREE.best is None
    assert ALL_FREE.model("anything") == FREE


def test_only_the_dearer_of_two_prices_of_one_name_holds() -> None:
    llm = {"model": "m", "base_url": "http://localhost/v1"}
    fallbacks = [llm | {"input_price": Decimal(2)}]
    book = opened(llm=llm | {"output_price": Decimal(3), "fallbacks": fallbacks})
    [rate] = book.model("m").rates
    assert (rate.input, rate.output) == (2_000_000_000, 3_000_000_000)


def test_where_models_compute_is_told_by_name() -> None:
    llm = {"model": "m", "base_url": "http://localhost/v1", "region": "eu"}
    fallbacks = [llm | {"region": "us"}, llm | {"model": "n", "region": ""}, llm]
    assert opened(llm=llm | {"fallbacks": fallbacks}).regions == {"m": "eu, us", "n": ""}


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8000/v1", "http://vllm:8000/v1", "http://10.0.0.3/v1", "http://127.1/v1",
        "http://[::1]:9/v1", "http://[fe80::1%25eth0]/v1", "http://192.168.1.4.:80/v1",
        "http://model.serving.svc.cluster.local/v1", "http://gpu.home.arpa/v1",
        "http://100.64.3.2/v1",
    ],
)  # fmt: skip
def test_ones_own_addresses(address: str) -> None:
    assert is_self_hosted(address)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "anthropic/claude-haiku-4-5", "o3", "Gemini-2"])
def test_a_proxy_to_a_provider_that_bills_needs_a_price(model: str) -> None:
    llm = {"model": model, "base_url": "http://litellm:4000/v1"}
    with pytest.raises(UnknownPrice) as refused:
        opened(llm=llm)
    assert refused.value.field == "llm.input_price"
    assert "0 where it costs nothing" in (refused.value.remedy or "")
    assert (
        opened(llm=llm | {"input_price": Decimal(0), "output_price": Decimal(0)}).model(model).free
    )


@pytest.mark.parametrize("model", ["llama-3.3-70b", "gpt-oss-120b", "gpt4all", "orca-2", "o1mini"])
def test_open_models_at_ones_own_address_are_free(model: str) -> None:
    assert opened(llm={"model": model, "base_url": "http://vllm:8000/v1"}).model(model).free


@pytest.mark.parametrize(
    "address",
    [OPENAI, "http://8.8.8.8/v1", "http://134744072/v1", "https://localhost.example.com/v1",
     "https://[2606:4700::1111]/v1", "", "https://10.0.0.3.nip.io/v1"],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    assert not is_self_hosted(address)


def test_a_gateway_counts_with_the_price_of_its_engines_embedder() -> None:
    there = opened(embedder={"provider": "openai", "model": "m", "base_url": OPENAI, "price": 3})
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(there.embedder)))
    unknown = {"provider": "openai", "model": "never-heard-of", "base_url": OPENAI}
    for own in ({}, unknown):
        settings = Settings.model_validate({"embedder": own})
        here = open_prices(settings, VirtualClock(time=AT), embedder=msgspec.convert(told, Price))
        assert here.embedder == there.embedder


def test_what_is_billed_is_never_asked_twice_at_once() -> None:
    settings = Settings(embedder={"provider": "openai", "model": "m", "base_url": "http://e/v1"})
    guards = Guards(settings, VirtualClock(), Metrics())
    embedder, reranker = HashingEmbedder(dimensions=8), cast(Reranker, object())
    for billed in (True, False):
        assert (guards.embedder(embedder, billed=billed)._hedge is None) is billed
        assert (guards.reranker(reranker, billed=billed)._hedge is None) is billed
