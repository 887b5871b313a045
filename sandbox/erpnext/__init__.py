"""A stand-in for ERPNext v15: what Punchstream calls of it, answered as recordings of a real site are."""
