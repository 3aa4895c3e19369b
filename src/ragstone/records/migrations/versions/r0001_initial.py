"""Collections, documents, jobs and keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _collections()
    _documents()
    _jobs()
    _keys()


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first revision")


def _collections() -> None:
    op.create_table(
        "collections",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("embedder", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("next_version", sa.BigInteger(), nullable=False),
        sa.Column("document_count", sa.BigInteger(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("deleted_at", sa.Double()),
        sa.PrimaryKeyConstraint("tenant", "name", name="pk_collections"),
    )


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("collection", NAME, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content_hash", NAME, nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("chunk_count", sa.BigInteger(), nullable=False),
        sa.Column("character_count", sa.BigInteger(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_documents"),
        sa.ForeignKeyConstraint(
            ["tenant", "collection"],
            ["collections.tenant", "collections.name"],
            name="fk_documents_collections",
        ),
    )
    op.create_index(
        "ix_documents_tenant_collection_id", "documents", ["tenant", "collection", "id"]
    )
    op.create_table(
        "document_texts",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_document_texts"),
        sa.ForeignKeyConstraint(
            ["tenant", "id"],
            ["documents.tenant", "documents.id"],
            name="fk_document_texts_documents",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "tombstones",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("collection", NAME, nullable=False),
        sa.Column("document_id", NAME, nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "collection", "document_id", name="pk_tombstones"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("collection", NAME, nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("state", NAME, nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("errors", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_tenant_created_at_id", "jobs", ["tenant", "created_at", "id"])
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_table(
        "job_sources",
        sa.Column("job_id", NAME, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("collection", NAME, nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("submitter", sa.Text()),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_sources"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_job_sources_jobs", ondelete="CASCADE"
        ),
    )


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", NAME, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("user_name", NAME),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_sha256", "api_keys", ["sha256"], unique=True)
