"""Tables of punches with a header, whichever file they stand in."""
