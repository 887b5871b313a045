"""The command, at the top of the house. Nothing imports it."""
