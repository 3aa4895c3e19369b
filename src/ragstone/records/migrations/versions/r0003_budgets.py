"""Budgets, what is counted against them, and what was used in each hour."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

USAGE_COUNTS = (
    "questions",
    "cached",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "written_input_tokens",
    "embedding_tokens",
    "rerank_tokens",
    "estimated",
    "nanodollars",
    "saved_nanodollars",
)


def upgrade() -> None:
    _budgets()
    _accounts()
    _holders()
    _usage()


def downgrade() -> None:
    for table in (
        "usage_hours",
        "budget_grants",
        "budget_slices",
        "budget_holders",
        "budget_accounts",
        "budgets",
    ):
        op.drop_table(table)


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("scope", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("period", NAME, nullable=False),
        sa.Column("unit", NAME, nullable=False),
        sa.Column("soft_limit", sa.BigInteger(), nullable=False),
        sa.Column("hard_limit", sa.BigInteger()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
    )
    op.create_index(
        "ix_budgets_same", "budgets", ["tenant", "scope", "name", "period", "unit"], unique=True
    )


def _accounts() -> None:
    op.create_table(
        "budget_accounts",
        sa.Column("budget_id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("pool", NAME, nullable=False),
        sa.Column("settled", sa.BigInteger(), nullable=False),
        sa.Column("outstanding", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "budget_id", "name", "period_start", "pool", name="pk_budget_accounts"
        ),
    )
    op.create_index("ix_budget_accounts_period_start", "budget_accounts", ["period_start"])


def _holders() -> None:
    op.create_table(
        "budget_holders",
        sa.Column("holder", NAME, nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("holder", name="pk_budget_holders"),
    )
    op.create_table(
        "budget_slices",
        sa.Column("holder", NAME, nullable=False),
        sa.Column("budget_id", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("period_start", sa.BigInteger(), nullable=False),
        sa.Column("pool", NAME, nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "holder", "budget_id", "name", "period_start", "pool", name="pk_budget_slices"
        ),
    )
    op.create_table(
        "budget_grants",
        sa.Column("holder", NAME, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.Double(), nullable=False),
        sa.Column("grants", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("holder", "number", name="pk_budget_grants"),
    )


def _usage() -> None:
    op.create_table(
        "usage_hours",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("application", NAME, nullable=False),
        sa.Column("model", NAME, nullable=False),
        sa.Column("key_id", NAME, nullable=False),
        sa.Column("user_name", NAME, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in USAGE_COUNTS),
        sa.PrimaryKeyConstraint(
            "tenant", "hour", "application", "model", "key_id", "user_name", name="pk_usage_hours"
        ),
    )
    op.create_index("ix_usage_hours_hour", "usage_hours", ["hour"])
