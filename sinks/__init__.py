"""Check-ins to a target, and what the target is told of their completeness."""
