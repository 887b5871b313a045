"""The way in by file."""
