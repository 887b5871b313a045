"""The way out: check-ins to a target, and up to when each shift is complete."""
