"""Attendance directly: the first and the last punch of a day become one Attendance, where a shift asks for it."""
