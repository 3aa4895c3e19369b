"""The priority of an API key; keys made before have none, which is the application's."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("priority", NAME))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("priority")
