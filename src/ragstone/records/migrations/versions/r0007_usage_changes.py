"""How often an hour of usage was written to, so that most of a period can be summed before."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "usage_changes",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "hour", name="pk_usage_changes"),
    )


def downgrade() -> None:
    op.drop_table("usage_changes")
