"""What people ask of the log and have done to it. Commands, console and API stand on it."""
