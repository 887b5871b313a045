"""Everything that puts raw events on Kafka. `publisher` is the one door; each way in is a module beside it."""
