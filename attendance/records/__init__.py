"""The records that stand on the topics, each a module of its own."""
