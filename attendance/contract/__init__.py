"""The data contract: which topics others may read, and what their records are, for people and programs outside."""
