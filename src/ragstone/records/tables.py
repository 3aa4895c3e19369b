"""The tables, for SQLite and PostgreSQL alike. `migrations/` must lead to exactly these."""

from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from ragstone.records.storable import storable_name, storable_text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class Name(TypeDecorator[str]):
    """An identifier: compared and ordered by code point on every database."""

    impl = Text().with_variant(Text(collation="C"), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_name(value)


class Content(TypeDecorator[str]):
    """Text for people: what cannot be stored in it is replaced, length unchanged."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_text(value)


class Json(TypeDecorator[Any]):
    """JSON as text: never queried, so it needs no database's own type."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


collections = Table(
    "collections",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("embedder", Json, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("cache_epoch", BigInteger, nullable=False, server_default="0"),
    Column("next_version", BigInteger, nullable=False),
    Column("document_count", BigInteger, nullable=False),
    Column("chunk_count", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    # A deleted collection keeps its row: were it made again with its counters at zero, what
    # was cached under an earlier generation, or named by an earlier version, would match.
    Column("deleted_at", Double),
)

documents = Table(
    "documents",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("id", Name, primary_key=True),
    Column("collection", Name, nullable=False),
    Column("external_id", Content, nullable=False),
    Column("title", Content, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("content_hash", Name, nullable=False),
    Column("access", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("chunk_count", BigInteger, nullable=False),
    Column("character_count", BigInteger, nullable=False),
    Column("source_name", Content, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    ForeignKeyConstraint(["tenant", "collection"], ["collections.tenant", "collections.name"]),
    Index(None, "tenant", "collection", "id"),
)

document_texts = Table(
    "document_texts",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("id", Name, primary_key=True),
    Column("text", Content, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"
    ),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("collection", Name, primary_key=True),
    Column("document_id", Name, primary_key=True),
    Column("deleted_at", Double, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Name, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("collection", Name, nullable=False),
    Column("source_name", Content, nullable=False),
    Column("state", Name, nullable=False),
    Column("counts", Json, nullable=False),
    Column("errors", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "state"),
)

job_sources = Table(
    "job_sources",
    metadata,
    Column("job_id", Name, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Content, nullable=False),
    Column("collection", Name, nullable=False),
    Column("access", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("submitter", Json),
    Column("content", LargeBinary, nullable=False),
    Column("key_id", Name),
    Column("user_name", Name),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Name, primary_key=True),
    Column("sha256", Name, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("user_name", Name),
    Column("groups", Json, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("label", Content, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Column("priority", Name),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Index(None, "sha256", unique=True),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Name, primary_key=True),
    Column("tenant", Name, nullable=False),
    Column("scope", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("period", Name, nullable=False),
    Column("unit", Name, nullable=False),
    Column("soft_limit", BigInteger, nullable=False),
    Column("hard_limit", BigInteger),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("ix_budgets_same", "tenant", "scope", "name", "period", "unit", unique=True),
)

# Without a reference to `budgets`: a budget may be deleted while some of it is out.
budget_accounts = Table(
    "budget_accounts",
    metadata,
    Column("budget_id", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("period_start", BigInteger, primary_key=True, autoincrement=False),
    Column("pool", Name, primary_key=True),
    Column("settled", BigInteger, nullable=False),
    Column("outstanding", BigInteger, nullable=False),
    Index(None, "period_start"),
)

# The row of a holder stays when it has ended: a report that comes again must be known.
budget_holders = Table(
    "budget_holders",
    metadata,
    Column("holder", Name, primary_key=True),
    Column("lease_until", Double, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("ended", Boolean, nullable=False),
)

budget_slices = Table(
    "budget_slices",
    metadata,
    Column("holder", Name, primary_key=True),
    Column("budget_id", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("period_start", BigInteger, primary_key=True, autoincrement=False),
    Column("pool", Name, primary_key=True),
    Column("held", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False),
)

# What was granted, for a holder that asks again because it did not hear the answer.
budget_grants = Table(
    "budget_grants",
    metadata,
    Column("holder", Name, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("granted_at", Double, nullable=False),
    Column("grants", Json, nullable=False),
)

usage_hours = Table(
    "usage_hours",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("application", Name, primary_key=True),
    Column("model", Name, primary_key=True),
    Column("key_id", Name, primary_key=True),
    Column("user_name", Name, primary_key=True),
    Column("questions", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("written_input_tokens", BigInteger, nullable=False),
    Column("embedding_tokens", BigInteger, nullable=False),
    Column("rerank_tokens", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),
    Column("nanodollars", BigInteger, nullable=False),
    Column("saved_nanodollars", BigInteger, nullable=False),
    Index(None, "hour"),
)

# How often an hour was written to: what was summed outside of a transaction holds while that stays.
usage_changes = Table(
    "usage_changes",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
)
