"""HFSECURITY terminals."""
