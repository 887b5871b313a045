"""Benchmarks: the product beside others, in one run. No part of the product."""
