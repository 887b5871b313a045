"""Kafka: records, clients, and what is done with them. `records` alone loads no Kafka library."""
