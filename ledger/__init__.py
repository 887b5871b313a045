"""The ledger: what the topics say, in a SQL database. It is a view, which can be deleted and made anew."""
