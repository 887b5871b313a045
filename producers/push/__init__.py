"""The HTTP way in: terminals send their punches."""
