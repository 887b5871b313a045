"""Where charts have their numbers from."""
