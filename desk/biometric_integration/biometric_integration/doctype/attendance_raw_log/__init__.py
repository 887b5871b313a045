"""Attendance Raw Log."""
