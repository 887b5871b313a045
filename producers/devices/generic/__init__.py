"""Adapters that know no vendor: JSON, REST, SQL, CSV and Excel."""
