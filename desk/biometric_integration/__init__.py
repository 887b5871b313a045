"""Biometric devices and whose number is whose, kept in ERPNext's desk. Punchstream reads both."""

__version__ = "0.1.0"
