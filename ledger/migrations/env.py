"""What Alembic runs: the steps that a database lacks, on the connection that the ledger has opened."""

from alembic import context

from ledger.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
