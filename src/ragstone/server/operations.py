"""Every route in one table, from which both the router and the OpenAPI document are made."""

from dataclasses import dataclass
from typing import Any

from ragstone.domain.answer import Answer
from ragstone.domain.job import Job
from ragstone.domain.principal import Scope
from ragstone.server import (
    answers,
    budget_views,
    budgets,
    cache,
    chat,
    documents,
    embeddings,
    health,
    keys,
    search,
    status,
    usage,
)
from ragstone.server.call import Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    scope: Scope | None
    tag: str
    response: Any = None
    """The JSON answer's type; None where it is not JSON."""
    request: Any = None
    """The JSON body's type; None where there is no body."""
    status: int = 200
    admitted: bool = False
    """Costs enough to be refused under overload, before its body is read."""
    limited: bool = False
    """Counts against the requests in a minute of the caller's key and tenant."""
    streams: bool = False
    """May answer as text/event-stream."""
    csv: bool = False
    """May answer as text/csv."""
    uploads: bool = False
    """Takes multipart/form-data too."""
    query: tuple[str, ...] | None = ()
    """Optional query parameters; others are refused. None: all are ignored."""

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip()

    @property
    def name(self) -> str:
        return self.handler.__name__


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/v1/answers",
        handler=answers.post_answer,
        scope="ask",
        admitted=True,
        limited=True,
        tag="Ask",
        request=answers.AnswerRequest,
        response=Answer,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/v1/search",
        handler=search.post_search,
        scope="ask",
        admitted=True,
        limited=True,
        tag="Ask",
        request=search.SearchBody,
        response=search.SearchResponse,
    ),
    Operation(
        method="GET",
        path="/v1/status",
        handler=status.get_status,
        scope="ask",
        tag="Health",
        response=status.Status,
    ),
    Operation(
        method="POST",
        path="/v1/documents",
        handler=documents.post_documents,
        scope="ingest",
        limited=True,
        tag="Documents",
        request=documents.DocumentsBody,
        response=documents.Accepted,
        status=202,
        uploads=True,
        query=("estimate",),
    ),
    Operation(
        method="GET",
        path="/v1/documents",
        handler=documents.get_documents,
        scope="ask",
        tag="Documents",
        response=documents.DocumentsResponse,
        query=("collection", "limit", "after"),
    ),
    Operation(
        method="GET",
        path="/v1/documents/{document_id}",
        handler=documents.get_document,
        scope="ask",
        tag="Documents",
        response=documents.DocumentResponse,
    ),
    Operation(
        method="DELETE",
        path="/v1/documents/{document_id}",
        handler=documents.delete_document,
        scope="ingest",
        tag="Documents",
        response=documents.Deleted,
    ),
    Operation(
        method="GET",
        path="/v1/jobs",
        handler=documents.get_jobs,
        scope="admin",
        tag="Documents",
        response=documents.JobsResponse,
        query=("limit",),
    ),
    Operation(
        method="GET",
        path="/v1/jobs/{job_id}",
        handler=documents.get_job,
        scope="ingest",
        tag="Documents",
        response=Job,
    ),
    Operation(
        method="GET",
        path="/v1/collections",
        handler=documents.get_collections,
        scope="ask",
        tag="Documents",
        response=documents.CollectionsResponse,
    ),
    Operation(
        method="DELETE",
        path="/v1/collections/{collection}",
        handler=documents.delete_collection,
        scope="admin",
        tag="Documents",
        response=documents.Deleted,
    ),
    Operation(
        method="POST",
        path="/v1/chat/completions",
        handler=chat.post_chat_completion,
        scope="ask",
        admitted=True,
        limited=True,
        tag="OpenAI-compatible",
        request=chat.ChatRequest,
        response=chat.ChatCompletion,
        streams=True,
    ),
    Operation(
        method="GET",
        path="/v1/models",
        handler=chat.get_models,
        scope="ask",
        tag="OpenAI-compatible",
        response=chat.ModelList,
    ),
    Operation(
        method="GET",
        path="/v1/models/{model:path}",
        handler=chat.get_model,
        scope="ask",
        tag="OpenAI-compatible",
        response=chat.ModelCard,
    ),
    Operation(
        method="POST",
        path="/v1/embeddings",
        handler=embeddings.post_embeddings,
        scope="ask",
        admitted=True,
        limited=True,
        tag="OpenAI-compatible",
        request=embeddings.EmbeddingsRequest,
        response=embeddings.EmbeddingsResponse,
    ),
    Operation(
        method="POST",
        path="/v1/keys",
        handler=keys.post_key,
        scope="admin",
        tag="Keys",
        request=keys.KeyRequest,
        response=keys.NewKey,
        status=201,
    ),
    Operation(
        method="GET",
        path="/v1/keys",
        handler=keys.get_keys,
        scope="admin",
        tag="Keys",
        response=keys.KeysResponse,
        query=("tenant", "limit", "after"),
    ),
    Operation(
        method="DELETE",
        path="/v1/keys/{key_id}",
        handler=keys.delete_key,
        scope="admin",
        tag="Keys",
        response=documents.Deleted,
    ),
    Operation(
        method="GET",
        path="/v1/budgets",
        handler=budgets.get_budgets,
        scope="admin",
        tag="Budgets and usage",
        response=budget_views.BudgetsResponse,
        query=("tenant", "limit", "after"),
    ),
    Operation(
        method="PUT",
        path="/v1/budgets",
        handler=budgets.put_budget,
        scope="admin",
        tag="Budgets and usage",
        request=budgets.BudgetRequest,
        response=budget_views.BudgetView,
    ),
    Operation(
        method="DELETE",
        path="/v1/budgets/{budget_id}",
        handler=budgets.delete_budget,
        scope="admin",
        tag="Budgets and usage",
        response=documents.Deleted,
    ),
    Operation(
        method="GET",
        path="/v1/usage",
        handler=usage.get_usage,
        scope="admin",
        tag="Budgets and usage",
        response=usage.UsageResponse,
        csv=True,
        query=("by", "since", "until", "tenant", "format", "limit", "after"),
    ),
    Operation(
        method="GET",
        path="/v1/cache",
        handler=cache.get_cache,
        scope="admin",
        tag="Caches",
        response=cache.CacheView,
    ),
    Operation(
        method="DELETE",
        path="/v1/cache",
        handler=cache.delete_cache,
        scope="admin",
        tag="Caches",
        response=cache.Cleared,
        query=("collection",),
    ),
    Operation(
        method="GET",
        path="/health/live",
        handler=health.get_live,
        scope=None,
        tag="Health",
        response=health.Live,
        query=None,
    ),
    Operation(
        method="GET",
        path="/health/ready",
        handler=health.get_ready,
        scope=None,
        tag="Health",
        response=health.Ready,
        query=None,
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=health.get_metrics,
        scope=None,
        tag="Health",
        query=None,
    ),
)
