"""What ERPNext answers to the trial of uniqueness, for fakes that are of something else."""

from collections.abc import Mapping, Sequence
from typing import Any

from attendance.errors import DocumentRejected
from sinks.targets.erpnext.uniqueness import TRIAL_EMPLOYEE


def answer_trial(documents: Sequence[Mapping[str, Any]], *, unique: bool) -> None:
    """Answer as ERPNext does if these are the documents of the trial; otherwise return."""
    ids = [str(document.get("event_id") or "") for document in documents]
    if not ids[0].startswith(TRIAL_EMPLOYEE):
        return
    if unique and ids[0] == ids[1]:
        raise DocumentRejected(417, "UniqueValidationError", "Event ID must be unique")
    raise DocumentRejected(417, "ValidationError" if documents[2]["employee"] else "MandatoryError", "")
