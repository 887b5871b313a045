"""Check-ins from the topic to the target: consume, deliver, retry, dead-letter, commit."""
