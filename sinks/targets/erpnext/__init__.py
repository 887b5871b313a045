"""The ERPNext target: check-ins as `Employee Checkin` documents."""
