"""Databases that are read and never written."""
