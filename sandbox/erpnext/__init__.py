"""A stand-in for ERPNext v15: what Punchstream calls of it, answered as recordings of real sites are.

`tests/contract/test_erpnext_stand_in.py` replays the recordings, and lists those that it does not answer, with reasons.

Not from recordings, but from the source of hrms 15.47: the hourly move of `last_sync_of_checkin`, holidays in auto
attendance, the Attendance that an approved leave makes. Tried on a real site and not recorded: names that are given
again after a deletion.

What it does not do, so that nothing passes here because of it:

- **Time**: no request takes long unless a knob says so, and transactions do not wait for one another, except for a
  check-in that is made slow (`failing_documents`). Auto attendance runs when a Shift Type is changed, or at the
  hour that a test lets come (`hourly`); no scheduler runs by itself.
- **Shifts**: an employee is on what is assigned, or else on the default shift. Requests and schedules of shifts,
  two shifts whose windows overlap, and "Strictly based on Log Type" in auto attendance are left out, as are late
  entry and early exit.
- **Leave, payroll**: Leave Application, Holiday List, Salary Slip, Company, Shift Assignment, Shift Location, User
  Permission and Workflow are only put there by a test, without a check. A Workflow gives a new check-in its first
  state, hinders nothing, and adds no field by itself. No Salary Slip is computed, and none keeps an Attendance from
  being cancelled (as in ERPNext).
- **Rights** are those of roles, by doctype, and User Permissions on Employee and Company. No field levels, no
  owners, no shared documents.
- **Custom fields** are there on Employee Checkin and Attendance, as Data or anything that is stored as it was sent.
  Fetched values, expressions (`mandatory_depends_on`) and Property Setters are left out.
- **Lists** have the aggregates that the directory asks for, and groups of names that begin alike. Messages are
  English, a few also German.
- **The desk** is a page with boot data. Sessions, cookies, pages of the website, files and the API v2 are left out.
- Comments, versions, notifications and links of the doctypes that are not here: nothing of them is kept or checked.
"""
