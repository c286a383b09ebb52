"""both together"""
from alembic import op
revision = "fe3merge"
down_revision = ("b1a", "b2a")
def upgrade():
    op.execute("CREATE TABLE t_fe3merge (x int)")
def downgrade():
    op.execute("DROP TABLE t_fe3merge")
