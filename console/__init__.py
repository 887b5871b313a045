"""The console: pages in a browser for HR and IT, over the ledger and the operations."""
