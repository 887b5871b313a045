"""The user map's way in: ERPNext's employees, and CSV files."""
