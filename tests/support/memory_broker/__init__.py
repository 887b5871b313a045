"""A Kafka in memory, for unit tests: topics, groups, rebalances, and failure on demand. No thread, no socket, no sleep.

`tests/contract/test_brokers_contract.py` holds it to what the real brokers do.
"""

from memory_broker.broker import MemoryBroker
from memory_broker.install import install

__all__ = ["MemoryBroker", "install"]
