"""The ERPNext site: make it ready for check-ins, and find out what is missing."""
