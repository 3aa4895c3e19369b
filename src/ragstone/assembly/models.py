"""Who embeds, who reorders and who writes, as the settings say."""

import asyncio
from collections.abc import Callable

import aiohttp

from ragstone.assembly.guards import Guards
from ragstone.domain.collection import EmbedderIdentity
from ragstone.domain.errors import InvalidSettings
from ragstone.governance.prices import PriceBook
from ragstone.models.embedders.fake import HashingEmbedder
from ragstone.models.embedders.openai_http import OpenAiEmbedder
from ragstone.models.llms.anthropic_messages import AnthropicMessages
from ragstone.models.llms.openai_chat import OpenAIChat
from ragstone.models.llms.pacing import Pace
from ragstone.models.rerankers.http import HttpReranker
from ragstone.ports import Clock, Embedder, LanguageModel, ModelOffer, ModelRoute, Reranker
from ragstone.resilience.model_route import GuardedRoute
from ragstone.settings import LlmEndpoint, Settings


def prepare_embedder(
    settings: Settings, on_build: Callable[[], None] | None = None
) -> EmbedderIdentity:
    """Build the local model if need be. Blocks. Raises `ModelFilesMissing`."""
    if settings.embedder.provider == "local":
        return _local_embedder(settings, on_build).identity
    return EmbedderIdentity(
        name=settings.embedder.model or "fake", dimensions=settings.embedder.dimensions
    )


async def open_embedder(
    settings: Settings, session: aiohttp.ClientSession, on_build: Callable[[], None] | None
) -> Embedder:
    """Bare: `Guards.embedder` is for the path of a question."""
    chosen = settings.embedder
    if chosen.provider == "local":
        return await asyncio.to_thread(_local_embedder, settings, on_build)
    if chosen.provider == "fake":
        return HashingEmbedder(dimensions=chosen.dimensions)
    return OpenAiEmbedder(
        session=session,
        base_url=chosen.base_url,
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        dimensions=chosen.dimensions,
        timeout_seconds=chosen.timeout_seconds,
    )


def _local_embedder(settings: Settings, on_build: Callable[[], None] | None) -> Embedder:
    # Its imports take a third of a second, which the other providers need not pay.
    from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder

    chosen = settings.embedder
    return MiniLmEmbedder(
        cache_dir=chosen.cache_dir,
        weights_dir=chosen.weights_dir,
        threads=chosen.threads,
        on_build=on_build,
    )


def open_model(
    settings: Settings,
    session: aiohttp.ClientSession,
    guards: Guards,
    pace: Pace,
    prices: PriceBook,
) -> ModelRoute | None:
    """The language model and its fallbacks, each behind its limits; None without a model.

    `pace` is what readers of their streams wait between two reads.
    Raises `InvalidSettings` for a fallback that names no model.
    """
    if not settings.llm.model:
        return None
    endpoints: list[LlmEndpoint] = [settings.llm, *settings.llm.fallbacks]
    for position, endpoint in enumerate(endpoints):
        if not endpoint.model:
            raise InvalidSettings(
                f"The fallback {position} of the language model names no model.",
                remedy="Give it a `model` in llm.fallbacks, or remove it.",
                field="llm.fallbacks",
            )
    return GuardedRoute(
        [
            (
                _language_model(settings, endpoint, session, guards.clock, pace),
                guards.model(position),
            )
            for position, endpoint in enumerate(endpoints)
        ],
        clock=guards.clock,
        random=guards.random,
        retry=guards.retry,
        observer=guards.observer,
        offers=[_offer(endpoint, prices) for endpoint in endpoints],
    )


def _offer(endpoint: LlmEndpoint, prices: PriceBook) -> ModelOffer:
    rate = prices.model(endpoint.model).rate(0)
    return ModelOffer(
        name=endpoint.model,
        quality=endpoint.quality,
        region=endpoint.region,
        input_price=rate.input,
        output_price=rate.output,
    )


def _language_model(
    settings: Settings,
    endpoint: LlmEndpoint,
    session: aiohttp.ClientSession,
    clock: Clock,
    pace: Pace,
) -> LanguageModel:
    adapter = AnthropicMessages if endpoint.provider == "anthropic" else OpenAIChat
    return adapter(
        session,
        model=endpoint.model,
        clock=clock,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key.get_secret_value(),
        connect_seconds=settings.llm.connect_seconds,
        first_token_seconds=settings.llm.first_token_seconds,
        gap_seconds=settings.llm.gap_seconds,
        pace=pace,
    )


def open_reranker(
    settings: Settings, session: aiohttp.ClientSession, guards: Guards, prices: PriceBook
) -> Reranker | None:
    """The reranker behind its limits; None where none is set."""
    chosen = settings.reranker
    if not chosen.base_url:
        return None
    reranker = HttpReranker(
        session,
        base_url=chosen.base_url,
        model=chosen.model,
        api_key=chosen.api_key.get_secret_value(),
        clock=guards.clock,
    )
    return guards.reranker(reranker, billed=not prices.reranker.free)
