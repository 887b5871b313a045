"""The one module of the app, as Frappe has it."""
