"""Punches by Day: what Frappe asks for when it draws the chart."""

from typing import Any

import frappe

from biometric_integration import overview


@frappe.whitelist()
def get_data(**_asked: object) -> dict[str, Any]:
    """The chart. It has no filters. Returns and raises what `overview.punches_by_day` does."""
    return overview.punches_by_day()
