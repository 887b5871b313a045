"""Whose number is whose."""
