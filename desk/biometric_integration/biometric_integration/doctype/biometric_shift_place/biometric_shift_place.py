"""Biometric Shift Place: a row of a Shift Type, a site or a device at which its people punch."""

from frappe.model.document import Document


class BiometricShiftPlace(Document):
    """A site with all its devices, or one device. `shift_settings` says what may stand here."""
