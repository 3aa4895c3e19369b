"""An API key's own requests and tokens in a minute; without, as the settings say."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.BigInteger()))
    op.add_column("api_keys", sa.Column("tokens_per_minute", sa.BigInteger()))


def downgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("tokens_per_minute")
        table.drop_column("requests_per_minute")
