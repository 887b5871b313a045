"""Hikvision access terminals."""
