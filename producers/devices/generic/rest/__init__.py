"""Any REST interface that hands out punches as JSON, as the entry's `options` describe it.

For devices and servers without an adapter of their own.
"""
