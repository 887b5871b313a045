"""Punches by day."""
