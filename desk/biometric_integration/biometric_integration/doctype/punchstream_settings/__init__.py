"""Punchstream Settings."""
