"""One device of the fleet."""
